// The page that compares: one query in two settings, what moved, and what the judged queries say of both.

import { askJson, choosePipeline, Failure, isSlash, Locked, make, noRows, notify, parse, postJson, rowsIn, spoken, unknownParts } from "./common.js";
import { cards, headingOf, keepFormer, missing } from "./hits.js";
import { moves, Side } from "./settings.js";

const byId = (id) => document.getElementById(id);
const [form, query, summary, score] = ["search", "query", "summary", "score"].map(byId);
const NAMES = ["a", "b"];
const KNOWN = ["pipeline", "query", "a", "b"];
const LIMIT = 10;
const LISTED = 8;

let pipeline;
let about;
let sides;
let ratings = {};
let asked = "";
let waiting = false;
let running;
let scoring;

const full = (setting) => ({ mode: pipeline.modes.at(-1), ...setting });

function address() {
  const state = new URLSearchParams({ pipeline: pipeline.name });
  if (query.value.trim()) state.set("query", query.value.trim());
  for (const name of NAMES) {
    const setting = sides[name].read();
    // The right side always: an address without any setting asks for a proposal.
    if (name === "b" || Object.keys(setting).length) state.set(name, JSON.stringify(setting));
  }
  return `?${state}`;
}

async function usePipeline(chosen) {
  pipeline = chosen;
  about = await askJson(`ui/compare/about?${new URLSearchParams({ pipeline: pipeline.name })}`);
  sides = Object.fromEntries(NAMES.map((name) => [name, new Side(byId(name), pipeline, about.generations)]));
}

// What a newcomer compares: another generation where there is one, else meaning and words with meaning alone.
function first() {
  const other = about.generations.find(({ state }) => state !== "live");
  sides.b.write(other ? { generation: other.state } : pipeline.modes.length > 1 ? { mode: "semantic" } : {});
}

function restore() {
  const state = new URLSearchParams(location.search);
  query.value = state.get("query") ?? "";
  const wrong = NAMES.map((name) => {
    let setting = {};
    try {
      setting = parse(state.get(name) ?? "{}");
    } catch { return name; }
    const strange = sides[name].write(setting);
    return strange && `${name}: ${strange}`;
  }).find(Boolean);
  if (!state.has("a") && !state.has("b")) first();
  if (wrong) {
    running?.abort();
    scoring?.abort();
    for (const name of NAMES) byId(`hits-${name}`).replaceChildren();
    summary.textContent = "";
    score.hidden = true;
    notify(new Failure(`The address has a setting that ${pipeline.name} cannot have: ${wrong.slice(0, 80)}.`, "Choose it again below, then press Compare."));
    return undefined;
  }
  return show(unknownParts(state, KNOWN));
}

async function show(warning = null) {
  running?.abort();
  const mine = new AbortController();
  running = mine;
  const text = query.value.trim();
  document.title = text ? `${text} · Compare · rowvec` : "Compare · rowvec";
  notify(warning && new Failure(warning));
  document.body.classList.add("working");
  const lists = NAMES.map((name) => byId(`hits-${name}`));
  for (const list of lists) list.setAttribute("aria-busy", "true");
  try {
    const found = text ? await Promise.all([...NAMES.map((name) => search(sides[name].read(), mine.signal)), judged(text, mine.signal)]) : null;
    const empty = found && !found[0].results.length && !found[1].results.length && (await rowsIn(pipeline, mine.signal)) === 0;
    if (mine.signal.aborted) return;
    for (const list of lists) list.classList.remove("former");
    if (found) {
      asked = text;
      reserve(found[2].queries);
      draw(found[0].results, found[1].results, found[2]);
      summary.prepend(...missing(found.find((each) => each.missing_parts?.length) ?? {}));
      if (empty) summary.replaceChildren(...noRows(pipeline));
    } else {
      for (const list of lists) list.replaceChildren();
      summary.textContent = "Ask one query of two settings: another weight, another mode, or the vectors of another model.";
    }
    await measure();
  } catch (error) {
    if (error.name === "AbortError") return;
    if (error instanceof Locked) for (const list of lists) list.replaceChildren();
    keepFormer(summary, ...lists);
    notify(error);
  } finally {
    if (mine === running) {
      document.body.classList.remove("working");
      for (const list of lists) list.removeAttribute("aria-busy");
    }
  }
}

async function search(setting, signal) {
  const { mode, rerank = false, ...rest } = full(setting);
  return postJson(`pipelines/${encodeURIComponent(pipeline.name)}/search/${mode}`,
    { query: query.value, limit: LIMIT, explain: true, passages: 0, ...(!rerank && pipeline.reranks && { rerank }), ...rest }, signal);
}

// Whoever holds a search token sees no judgements: they are of all rows.
const judged = (text, signal) => !about.scores ? { ratings: {}, queries: 0 } : askJson(`ui/compare/judgements?${new URLSearchParams({ pipeline: pipeline.name, query: text })}`, { signal });

function draw(a, b, known) {
  ratings = known.ratings;
  const ids = [a, b].map((hits) => hits.map(({ id }) => String(id)));
  const shared = ids[0].filter((id) => ids[1].includes(id)).length;
  const same = shared === ids[0].length && ids[0].every((id, place) => id === ids[1][place]);
  const most = Math.max(ids[0].length, ids[1].length);
  summary.textContent = !most ? "Nothing found. Say it in other words."
    : same ? `The same ${most} hits in the same order.` : `overlap@${LIMIT}: ${shared} of ${most} hits ${shared === 1 ? "is" : "are"} on both sides.`;
  drawSide("a", a, moves(ids[1], ids[0]), b.length);
  drawSide("b", b, moves(ids[0], ids[1]), a.length);
}

function arrow(move, others) {
  if (move === 0 || !others) return null;
  if (move === null) return make("span", { className: "move new" }, "only here");
  const [sign, word] = move > 0 ? ["▲", "higher"] : ["▼", "lower"];
  return make("span", { className: `move ${word}` }, make("span", { "aria-hidden": "true" }, `${sign} ${Math.abs(move)}`),
    make("span", { className: "visually-hidden" }, `${Math.abs(move)} ${Math.abs(move) === 1 ? "place" : "places"} ${word} than on the other side`));
}

function drawSide(name, hits, moved, others) {
  const own = { ...pipeline, ranking: sides[name].ranking() };
  const links = (hit, index) => ({
    row: `row?${new URLSearchParams({ pipeline: pipeline.name, id: hit.id })}`,
    more: [arrow(moved[index], others), about.judges ? thumbs(hit) : null],
  });
  byId(`hits-${name}`).replaceChildren(...cards(hits, own, links, { mode: full(sides[name].read()).mode }));
}

function thumbs(hit) {
  const heading = headingOf(hit, pipeline);
  const rating = ratings[String(hit.id)];
  return make("span", { className: "thumbs" }, ...[[1, "Good", "answers the query"], [0, "Bad", "does not answer it"]].map(([value, sign, words]) => {
    const pressed = rating !== undefined && (value ? rating > 0 : rating === 0);
    const button = make("button", { type: "button", className: "quiet", "aria-pressed": String(pressed), "aria-label": `${sign}: ${heading} ${words}` }, sign);
    button.dataset.id = hit.id;
    button.dataset.value = value;
    button.addEventListener("click", () => judge(hit.id, button.getAttribute("aria-pressed") === "true" ? null : value));
    return button;
  }));
}

async function judge(id, rating) {
  try {
    const known = await postJson("ui/compare/judgements", { pipeline: pipeline.name, query: asked, id, rating });
    ratings = known.ratings;
    for (const button of document.querySelectorAll(".thumbs button")) {
      const given = ratings[button.dataset.id];
      button.setAttribute("aria-pressed", String(given !== undefined && (given > 0) === (button.dataset.value === "1")));
    }
    await measure();
  } catch (error) {
    if (error.name !== "AbortError") notify(error);
  }
}

// The place of the scores is there before the hits below it, which would jump else.
function reserve(judgedQueries) {
  if (!about.scores || !score.hidden) return;
  if (!judgedQueries) drawScore({ queries: [] });
  else if (pipeline.billed) measure();
  else {
    score.replaceChildren(make("p", { className: "muted measuring" }, "Measuring both sides by the judged queries …"));
    score.hidden = false;
  }
}

// Where each query costs money, judged ones are asked when somebody says so.
async function measure(asked = false) {
  score.hidden ||= !about.scores;
  if (!about.scores) return;
  if (pipeline.billed && !asked) {
    const button = make("button", { type: "button", className: "quiet" }, "Measure both sides by the judged queries");
    button.addEventListener("click", () => measure(true).then(() => score.focus()).catch(notify));
    score.replaceChildren(button);
    score.hidden = false;
    return;
  }
  scoring?.abort();
  const mine = new AbortController();
  scoring = mine;
  const body = { pipeline: pipeline.name, a: full(sides.a.read()), b: full(sides.b.read()) };
  const reply = await postJson("ui/compare/score", body, mine.signal);
  if (!mine.signal.aborted) drawScore(reply);
}

function drawScore({ measure: name, a, b, queries }) {
  score.hidden = !queries.length && !about.judges;
  if (!queries.length) {
    score.replaceChildren(make("p", { className: "muted" }, ...spoken("No query is judged yet. Good and Bad on a hit judge it, and `rowvec eval` reads what was judged.")));
    return;
  }
  const [won, lost] = [queries.filter((each) => each.b > each.a).length, queries.filter((each) => each.b < each.a).length];
  const change = b - a;
  const told = `${won} won, ${lost} lost, ${queries.length - won - lost} as before`;
  const moved = queries.filter((each) => each.b !== each.a);
  const listed = moved.length > LISTED ? [...moved.slice(0, LISTED / 2), ...moved.slice(-LISTED / 2)] : moved;
  score.replaceChildren(
    make("p", {}, make("strong", {}, `${name} ${a.toFixed(3)} → ${b.toFixed(3)}`), ` (${change >= 0 ? "+" : "−"}${Math.abs(change).toFixed(3)}) over ${queries.length} judged ${queries.length === 1 ? "query" : "queries"}: on the right ${told}.`),
    listed.length ? make("details", {}, make("summary", {}, "The queries that were lost and won most"), make("table", {},
      make("thead", {}, make("tr", {}, ...["query", "left", "right"].map((head) => make("th", { scope: "col" }, head)))),
      make("tbody", {}, ...listed.map((each) => make("tr", {},
        make("td", {}, make("a", { href: `?${queryAddress(each.query)}` }, each.query)),
        make("td", { className: "number" }, each.a.toFixed(3)), make("td", { className: "number" }, each.b.toFixed(3))))))) : "");
}

function queryAddress(text) {
  const state = new URLSearchParams(address());
  state.set("query", text);
  return state;
}

function submit() {
  if (!sides) {
    waiting = true;
    return;
  }
  const wrong = NAMES.map((name) => sides[name].invalid()).find(Boolean);
  if (wrong) {
    wrong.reportValidity();
    notify(new Failure(`"${wrong.closest("label").textContent.trim()}" has a value that cannot be: ${wrong.validationMessage}`));
    return;
  }
  const wanted = address();
  if (wanted !== location.search) history.pushState(null, "", wanted);
  show();
}

async function copy(name, button) {
  const text = sides[name].toml();
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy as TOML"; }, 1500);
  } catch {
    // No clipboard without https, except on this machine: the text is shown to be copied by hand.
    byId(name).querySelector("pre")?.remove();
    byId(name).append(make("pre", { tabIndex: 0 }, text));
  }
}

function listen() {
  form.addEventListener("submit", (event) => (event.preventDefault(), submit()));
  form.addEventListener("change", (event) => event.target !== query && submit());
  for (const name of NAMES) byId(name).querySelector(".copy").addEventListener("click", ({ target }) => copy(name, target));
  document.addEventListener("keydown", (event) => {
    if (!isSlash(event)) return;
    event.preventDefault();
    query.focus();
    query.select();
  });
}

try {
  listen();
  const use = async (chosen) => {
    try {
      await usePipeline(chosen);
      first();
      submit();
    } catch (error) {
      notify(error);
    }
  };
  const returned = (chosen) => (chosen === pipeline ? restore() : usePipeline(chosen).then(restore).catch(notify));
  const chosen = await choosePipeline(use, returned);
  await usePipeline(chosen);
  const typed = query.value;
  const restored = restore();
  // What somebody typed before the server had answered stays, and Enter counts.
  if (typed) query.value = typed;
  if (typed && waiting) submit();
  else await restored;
} catch (error) {
  notify(error);
}
