// The status page: a fragment made by the server, looked at again every few seconds while the page is seen.

import { ask, choosePipeline, notify } from "./common.js";

const SECONDS = 10;
const place = document.getElementById("status");
let pipeline;

async function refresh() {
  if (document.hidden) return;
  try {
    const response = await ask(`ui/status/body?${new URLSearchParams({ pipeline: pipeline.name })}`);
    const text = await response.text();
    notify(null);
    // Made by a template that escapes every value.
    place.innerHTML = text;
  } catch (error) {
    notify(error);
    if (place.querySelector(".cards") === null) place.replaceChildren();
  } finally {
    place.setAttribute("aria-busy", "false");
    // Spoken once; the refreshes after it are for the eye.
    place.removeAttribute("aria-live");
  }
}

async function start() {
  try {
    pipeline = await choosePipeline((chosen) => {
      pipeline = chosen;
      history.replaceState(null, "", `?${new URLSearchParams({ pipeline: chosen.name })}`);
      refresh();
    });
  } catch (error) {
    notify(error);
    setTimeout(start, SECONDS * 1000);
    return;
  }
  await refresh();
  setInterval(refresh, SECONDS * 1000);
  document.addEventListener("visibilitychange", refresh);
}

start();
