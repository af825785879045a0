// The page of one row: what its vector was made of, how it stands, and what is near it.

import { askJson, choosePipeline, Failure, make, notify, spoken } from "./common.js";
import { ago, cards, headingOf, sourceOf, readable } from "./hits.js";

const byId = (id) => document.getElementById(id);
const NEAR = 10;
const LONGEST = 4000;

let pipeline;

const link = (path, more) => `${path}?${new URLSearchParams({ pipeline: pipeline.name, ...more })}`;

function moment(text) {
  return make("time", { dateTime: text, title: text.replace("T", " ").slice(0, 19) }, ago(Date.parse(text)));
}

function facts(row) {
  const source = sourceOf(row, pipeline);
  const tokens = row.tokens === null ? null
    : `${row.tokens.toLocaleString("en")}${row.window ? ` of a window of ${row.window.toLocaleString("en")}` : ""}`;
  const told = [
    [pipeline.key, String(row.id)],
    ["vector", row.embedded ? `by ${row.model}` : "none"],
    ["last written", row.written_at && moment(row.written_at)],
    ["tokens", tokens],
    ["passages", row.passages.length ? row.passages.length.toLocaleString("en") : null],
    ["on the map", row.on_map ? make("a", { href: link("map", { row: row.id }) }, "show its place") : null],
    ["source", source ? make("a", { href: source, rel: "noreferrer noopener" }, "open") : null],
  ];
  byId("facts").replaceChildren(...told.filter(([, value]) => value !== null).map(([name, value]) =>
    make("div", {}, make("dt", {}, name), make("dd", {}, value))));
}

function failure({ failure: failed, embedded }) {
  byId("failure").hidden = !failed;
  if (!failed) return;
  const next = Date.parse(failed.next_try) > Date.now() ? moment(failed.next_try) : "with the next sync";
  byId("failure").replaceChildren(
    make("strong", {}, embedded ? "Its latest text could not be embedded; the vector is of an older one." : "It could not be embedded."),
    make("p", {}, failed.error),
    make("p", {}, `${failed.tries.toLocaleString("en")} ${failed.tries === 1 ? "try" : "tries"}, the last `, moment(failed.failed_at), ", the next ", next, "."));
}

// Offsets are code points. Overlapping passages are marked where each begins.
function text(row) {
  if (row.text === null) {
    byId("text").replaceChildren(make("p", { className: "muted" }, ...spoken("The store keeps no text of this row (`store.texts`).")));
    return;
  }
  const characters = [...row.text];
  const cuts = new Map(row.passages.map(([start], index) => [start, make("b", { className: "cut" }, `passage ${index + 1}`)]));
  if (row.read !== null && row.read < characters.length) cuts.set(row.read, make("b", { className: "cut" }, "the model reads no further"));
  const places = [0, ...[...cuts.keys()].filter((place) => place > 0).sort((a, b) => a - b), characters.length];
  const parts = [];
  for (let at = 0; at + 1 < places.length; at += 1) {
    const piece = characters.slice(places[at], places[at + 1]).join("");
    const unread = row.read !== null && places[at] >= row.read;
    if (cuts.has(places[at])) parts.push(cuts.get(places[at]));
    parts.push(unread ? make("s", { className: "unread" }, piece) : piece);
  }
  const longer = row.longer && row.read === null && !row.passages.length
    ? make("p", { className: "muted" }, "It is longer than the model's window: its vector is the mean of several windows, or of its beginning.") : "";
  byId("text").replaceChildren(make("pre", { className: "text", tabIndex: 0, role: "group", "aria-label": "Text" }, ...parts), longer);
}

// A value in its length, a date beside its age.
function whole(value, type) {
  const said = readable(value, type, LONGEST);
  return said?.tagName === "TIME" ? [said.title, " · ", said] : said && [said];
}

function values(row) {
  const types = Object.fromEntries(pipeline.columns.map(({ name, type }) => [name, type]));
  const unfit = Object.fromEntries(row.unfit.map(({ column, reason }) => [column, reason]));
  const told = Object.entries(row.metadata).map(([name, value]) =>
    make("tr", {}, make("th", { scope: "row" }, name),
      make("td", {}, ...(whole(value, types[name]) ?? [make("span", { className: "muted" }, unfit[name] ?? "null")]))));
  const json = make("details", { className: "more" }, make("summary", {}, "As JSON"),
    make("pre", { tabIndex: 0 }, JSON.stringify({ id: row.id, metadata: row.metadata, text: row.text }, null, 2)));
  byId("values").replaceChildren(
    told.length ? make("table", { className: "values" }, make("tbody", {}, ...told)) : make("p", { className: "muted" }, ...spoken("The pipeline keeps no metadata (`store.metadata`).")), json);
}

async function near(row) {
  const said = byId("near-summary");
  said.hidden = row.embedded;
  said.textContent = "A row without a vector has no neighbours.";
  byId("hits").replaceChildren();
  if (!row.embedded) return;
  const path = `pipelines/${encodeURIComponent(pipeline.name)}/search/similar/${encodeURIComponent(row.id)}`;
  const reply = await askJson(`${path}?limit=${NEAR}&passages=0`);
  said.hidden = reply.results.length > 0;
  said.textContent = "There is no other row with a vector.";
  byId("hits").replaceChildren(...cards(reply.results, pipeline, ({ id }) => ({ row: link("row", { id }), similar: `../${link("", { like: id })}` })));
}

async function show() {
  const id = new URLSearchParams(location.search).get("id");
  if (id === null) throw new Failure("The address names no row.", "It ends in ?id= and the key of one, as the titles of hits do.");
  const row = await askJson(`ui/row/data?${new URLSearchParams({ pipeline: pipeline.name, id })}`);
  const heading = headingOf(row, pipeline);
  document.title = `${heading} · rowvec`;
  byId("heading").textContent = heading;
  byId("summary").replaceChildren(`A row of ${pipeline.name} · `, make("a", { href: `../${link("", { like: row.id })}` }, "Similar rows"));
  byId("row").hidden = false;
  facts(row);
  failure(row);
  text(row);
  values(row);
  await near(row);
}

try {
  const use = (chosen) => {
    pipeline = chosen;
    return show();
  };
  const other = (chosen) => location.assign(`../?${new URLSearchParams({ pipeline: chosen.name })}`);
  await use(await choosePipeline(other, (chosen) => use(chosen).catch(notify)));
} catch (error) {
  byId("row").hidden = true;
  byId("summary").textContent = "";
  notify(error);
}
