// A page about the state of pipelines: a fragment made by the server, and what happens meanwhile as events.

import { ask, choosePipeline, NoSuchPipeline, notify, openTarget } from "./common.js";
import { children, parsed } from "./patch.js";

const AGAIN = 3000;
const READ = 4000;
const place = document.getElementById("live");
const aged = document.getElementById("aged");
const all = place.dataset.body === "ui/overview/body";
let pipeline, seen, stream;

const address = (path) => (all ? path : `${path}?${new URLSearchParams({ pipeline: pipeline.name })}`);

async function refresh() {
  if (document.hidden) return;
  const mine = pipeline;
  try {
    const text = await (await ask(address(place.dataset.body))).text();
    // Another pipeline was chosen meanwhile.
    if (mine !== pipeline) return;
    replace(place, text);
    place.setAttribute("aria-busy", "false");
    title();
    seen = Date.now();
    notify(null);
  } catch (error) {
    if (mine === pipeline) failed(error);
  } finally {
    // Spoken once; what comes after is for the eye.
    place.removeAttribute("aria-live");
    age();
  }
}

function failed(error) {
  notify(error);
  place.setAttribute("aria-busy", "false");
  if (!seen) place.querySelector(".summary")?.remove();
}

function title() {
  const heading = place.querySelector("h1")?.textContent;
  const verdict = place.querySelector(".verdict")?.textContent;
  document.title = [heading, all ? null : verdict?.split(",")[0], "rowvec"].filter(Boolean).join(" · ");
}

// Figures that cannot be renewed say of when they are.
function age() {
  const notice = document.getElementById("notice");
  aged.hidden = !seen || notice.hidden;
  if (!aged.hidden) aged.textContent = `These figures are as of ${new Date(seen).toLocaleTimeString("en-GB")}.`;
}

function happened(name, data) {
  if (name === "look") refresh();
  if (name !== "work") return;
  const spot = place.querySelector(`.work-place[data-pipeline="${CSS.escape(data.pipeline)}"]`);
  if (spot) replace(spot, data.html);
}

// Whoever was on a button that is gone goes on from where it was.
function replace(spot, html) {
  const held = document.activeElement;
  const inside = spot.contains(held);
  children(spot, parsed(html));
  if (!inside || held.isConnected) return;
  spot.focus({ preventScroll: true });
}

async function read(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let waiting = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const events = (waiting + value).split("\n\n");
    waiting = events.pop();
    for (const event of events) {
      const [, name] = event.match(/^event: (.*)$/m) ?? [];
      const [, data] = event.match(/^data: (.*)$/m) ?? [];
      if (name && data) happened(name, JSON.parse(data));
    }
  }
}

// While the page is seen; when the server goes away it is asked for until it is back.
async function follow() {
  stream?.abort();
  const mine = new AbortController();
  stream = mine;
  while (!document.hidden && stream === mine) {
    try {
      await read(await ask(address("ui/events"), { signal: mine.signal }));
    } catch {
      if (stream !== mine) return;
    }
    await new Promise((resolve) => setTimeout(resolve, AGAIN));
    if (stream === mine) await refresh();
  }
}

// A click on a button that asks the server to do something. Not `disabled`: that would take the focus away.
place.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-post], button[data-get]");
  if (!button || button.hasAttribute("aria-disabled")) return;
  const { post, get, busy, done } = button.dataset;
  const words = button.textContent;
  const free = () => {
    button.removeAttribute("aria-disabled");
    button.textContent = words;
  };
  button.setAttribute("aria-disabled", "true");
  if (busy) button.textContent = busy;
  try {
    await ask(post ?? get, { method: post ? "POST" : "GET" });
    notify(null);
    if (get) {
      free();
      await refresh();
      return;
    }
    button.textContent = done;
    setTimeout(free, READ);
  } catch (error) {
    notify(error);
    free();
  }
});

async function start() {
  const chosen = (one) => {
    pipeline = one;
    seen = undefined;
    refresh();
    follow();
  };
  try {
    pipeline = await choosePipeline((one) => {
      history.pushState(null, "", `?${new URLSearchParams({ pipeline: one.name })}`);
      chosen(one);
    }, chosen);
  } catch (error) {
    failed(error);
    // A server that is away comes back; another pipeline somebody has to choose.
    if (!(error instanceof NoSuchPipeline)) setTimeout(start, AGAIN);
    return;
  }
  if (all) document.getElementById("pipeline").closest("label").hidden = true;
  await refresh();
  openTarget(place);
  follow();
}

window.addEventListener("hashchange", () => openTarget(place));
document.addEventListener("visibilitychange", () => {
  if (document.hidden) return stream?.abort();
  if (!pipeline) return;
  refresh();
  follow();
});

start();
