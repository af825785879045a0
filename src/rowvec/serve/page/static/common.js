// What both pages need: asking the server, the API key, and building elements without ever parsing data as HTML.

export const root = document.body.dataset.root;
const KEY = "rowvec-api-key";

export class Failure extends Error {
  constructor(message, hint) {
    super(message);
    this.hint = hint;
  }
}

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
      await askForKey(key !== null);
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

let asking = null;

function askForKey(wrong) {
  const dialog = document.getElementById("key-dialog");
  const input = document.getElementById("key");
  if (wrong) document.getElementById("key-text").textContent = "That key is not right. It is kept in this tab only.";
  asking ??= new Promise((resolve) => {
    dialog.addEventListener("cancel", (event) => event.preventDefault(), { once: true });
    dialog.addEventListener("close", () => {
      sessionStorage.setItem(KEY, input.value.trim());
      input.value = "";
      asking = null;
      resolve();
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

export function notify(error) {
  const notice = document.getElementById("notice");
  notice.hidden = !error;
  notice.setAttribute("role", "alert");
  if (error) notice.replaceChildren(make("strong", {}, error.message), error.hint ? make("p", {}, error.hint) : "");
}

// Pages of a server with one pipeline need not speak of pipelines; the choice of several is in the address, and
// `onReturn` gets one that the back button has brought back.
export async function choosePipeline(onChange, onReturn) {
  const { pipelines } = await askJson("pipelines");
  const select = document.getElementById("pipeline");
  select.replaceChildren(...pipelines.map(({ name }) => make("option", { value: name }, name)));
  const chosen = () => pipelines.find(({ name }) => name === select.value);
  const follow = () => {
    const wanted = new URLSearchParams(location.search).get("pipeline");
    select.value = (pipelines.find(({ name }) => name === wanted) ?? pipelines[0]).name;
  };
  follow();
  window.addEventListener("popstate", () => {
    const before = select.value;
    follow();
    if (select.value !== before) onReturn?.(chosen());
  });
  select.closest("label").hidden = pipelines.length < 2;
  select.addEventListener("change", () => onChange(chosen()));
  for (const link of document.querySelectorAll("nav a")) {
    link.addEventListener("click", () => {
      if (pipelines.length > 1) link.search = new URLSearchParams({ pipeline: select.value });
    });
  }
  return chosen();
}
