// What all pages need: asking the server, the API key, and building elements without ever parsing data as HTML.

export const root = document.body.dataset.root;
const KEY = "rowvec-api-key";

export class Failure extends Error {
  constructor(message, hint) {
    super(message);
    this.hint = hint;
  }
}

export class NoSuchPipeline extends Failure {}

export class Locked extends Failure {}

// The key lives as long as the tab. A reply of 401 asks for it, then the request is made again.
export async function ask(path, options = {}) {
  for (;;) {
    const key = sessionStorage.getItem(KEY);
    const headers = { ...options.headers, ...(key && { Authorization: `Bearer ${key}` }) };
    let response;
    try {
      response = await fetch(root + path, { ...options, headers });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Failure("The server does not answer.", "Is `rowvec serve` still running?");
    }
    if (response.status === 401) {
      if (!(await askForKey(key !== null))) throw new Locked("Nothing is shown without the API key.", "Reload the page to enter it.");
      continue;
    }
    if (!response.ok) {
      const body = await response.json().catch(() => null);
      throw new Failure(body?.error?.message ?? `The server answered ${response.status}.`, body?.error?.hint);
    }
    return response;
  }
}

// Integers beyond 2^53 stay the digits they were sent as: a key must not become its neighbour.
export function parse(text) {
  return JSON.parse(text, (_, value, context) =>
    Number.isInteger(value) && !Number.isSafeInteger(value) && context?.source ? context.source : value);
}

export async function askJson(path, options) {
  return parse(await (await ask(path, options)).text());
}

export const postJson = (path, body, signal) => askJson(path, {
  method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), signal,
});

// Whoever signs out leaves nothing on the screen, also not in a page that the back button brings back.
const signOut = document.getElementById("sign-out");
const signedIn = () => sessionStorage.getItem(KEY) !== null;

signOut.hidden = !signedIn();
signOut.addEventListener("click", () => {
  sessionStorage.removeItem(KEY);
  location.reload();
});
window.addEventListener("pageshow", ({ persisted }) => persisted && signOut.hidden === signedIn() && location.reload());

let asking = null;

function askForKey(wrong) {
  const dialog = document.getElementById("key-dialog");
  const input = document.getElementById("key");
  if (wrong) document.getElementById("key-text").textContent = "That key or token is not right. It is kept in this tab only.";
  asking ??= new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      const given = dialog.returnValue === "open" ? input.value.trim() : "";
      if (given) sessionStorage.setItem(KEY, given);
      signOut.hidden = !signedIn();
      dialog.returnValue = input.value = "";
      asking = null;
      resolve(Boolean(given));
    }, { once: true });
    dialog.showModal();
    input.focus();
  });
  return asking;
}

export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name in element && name !== "list") element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

// What narrows the rows that are shown, to be taken away by a click; an item of a list.
export function chip(label, remove) {
  const button = make("button", { type: "button", className: "chip", "aria-label": `Remove: ${label}` }, make("span", {}, label), make("span", { "aria-hidden": "true" }, "×"));
  button.addEventListener("click", remove);
  return make("li", {}, button);
}

export function notify(error) {
  const notice = document.getElementById("notice");
  notice.hidden = !error;
  notice.setAttribute("role", "alert");
  if (error) notice.replaceChildren(make("strong", {}, ...spoken(error.message)), error.hint ? make("p", {}, ...spoken(error.hint)) : "");
}

// What stands in backticks is code.
export const spoken = (text) => text.split("`").map((part, index) => (index % 2 ? make("code", {}, part) : part)).filter((part) => part !== "");

// Pages of a server with one pipeline need not speak of pipelines; the choice of several is in the address, and
// `onReturn` gets that of an address which the back button has brought back. Throws where the address names one that there is not:
// what somebody linked to is not another pipeline's.
export async function choosePipeline(onChange, onReturn) {
  const { pipelines } = await askJson("pipelines");
  const select = document.getElementById("pipeline");
  select.replaceChildren(...pipelines.map(({ name }) => make("option", { value: name }, name)));
  const chosen = () => pipelines.find(({ name }) => name === select.value);
  const follow = () => {
    const wanted = new URLSearchParams(location.search).get("pipeline");
    select.value = wanted ?? pipelines[0].name;
    if (!chosen()) throw new NoSuchPipeline(`There is no pipeline "${wanted.slice(0, 100)}".`, `There is: ${pipelines.map(({ name }) => name).join(", ")}. Choose one above.`);
  };
  // Set, not added: a page that could not start asks again.
  window.onpopstate = () => {
    try {
      follow();
    } catch (error) {
      notify(error);
      return;
    }
    onReturn?.(chosen());
  };
  select.closest("label").hidden = pipelines.length < 2 && pipelines[0].name === (new URLSearchParams(location.search).get("pipeline") ?? pipelines[0].name);
  select.onchange = () => onChange(chosen());
  // Before a link is followed in this tab, opened in another, or copied.
  for (const link of document.querySelectorAll("nav a, .brand")) {
    link.onclick = link.onpointerdown = () => {
      const state = new URLSearchParams(pipelines.length > 1 ? { pipeline: select.value } : {});
      if (link.dataset.takes) carried(new URLSearchParams(location.search), link.dataset.takes.split(" "), state);
      link.search = state;
    };
  }
  follow();
  return chosen();
}

// What somebody looks for, and among which rows, goes along to a page that knows it.
function carried(from, names, to) {
  for (const name of names) if (from.get(name)) to.set(name, from.get(name));
}

export const MODES = { hybrid: "Meaning + words", semantic: "Meaning", keyword: "Words" };

// The ways to search that a pipeline has, as a choice; the one that was chosen stays where it can.
export function offerModes(fieldset, offered, name = "mode") {
  const before = fieldset.querySelector("input:checked")?.value;
  const known = Object.keys(MODES).filter((mode) => offered.includes(mode));
  const chosen = known.includes(before) ? before : known[0];
  fieldset.replaceChildren(fieldset.querySelector("legend"), ...known.map((mode) =>
    make("label", {}, make("input", { type: "radio", name, value: mode, checked: mode === chosen }), make("span", {}, MODES[mode]))));
}

// The mode of an address; without one, the last that the pipeline has. Throws where the pipeline cannot search so.
export function modeOf(state, { name, modes }) {
  const wanted = state.get("mode") ?? modes.at(-1);
  if (modes.includes(wanted)) return wanted;
  const offered = modes.map((mode) => `${mode} (${MODES[mode]})`).join(", ");
  throw new Failure(`The pipeline ${name} has no mode "${wanted.slice(0, 60)}".`, `It has: ${offered}.`);
}

// A number of the address, from 1 to `most`.
export function whole(wanted, most, what) {
  const count = Number(wanted);
  if (Number.isInteger(count) && count >= 1 && count <= most) return count;
  throw new Failure(`The address asks for "${wanted.slice(0, 20)}" ${what}.`, `It can be a whole number from 1 to ${most.toLocaleString("en")}.`);
}

// What an address holds that a page does not know: said, since without it a page shows more than was linked to.
export function unknownParts(state, known) {
  const strange = [...state.keys()].filter((name) => !known.includes(name) && !name.startsWith("utm_"));
  return strange.length ? `The address has a part that this page does not know: ${strange.map((name) => name.slice(0, 60)).join(", ")}.` : null;
}

// How many rows can be found at all; null where that cannot be said. Other words find nothing where there are none.
export async function rowsIn({ name }, signal) {
  try {
    return (await postJson(`pipelines/${encodeURIComponent(name)}/search/browse`, { limit: 1, passages: 0 }, signal)).total;
  } catch {
    return null;
  }
}

export const noRows = ({ name }) => [make("strong", {}, `${name} has no rows yet. `), ...spoken("`rowvec sync` embeds what its source holds.")];

// Keys typed into a text are not commands.
const typing = ({ target }) => target.closest("input:not([type=radio], [type=checkbox]), select, textarea, dialog") !== null;

export const isSlash = (event) => event.key === "/" && !event.ctrlKey && !event.metaKey && !typing(event);

// The entry that the address names is opened.
export function openTarget(place = document) {
  const target = [...place.querySelectorAll("details[id]")].find(({ id }) => location.hash === `#${id}`);
  if (!target) return;
  target.open = true;
  target.scrollIntoView();
  target.querySelector("summary").focus();
}
