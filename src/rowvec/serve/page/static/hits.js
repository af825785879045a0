// Hits as cards: what the row is called, its metadata, and the parts of its score as small bars.

import { make } from "./common.js";

const PARTS = { semantic: "meaning", keyword: "words", static: "static", decay: "freshness", rerank: "rerank" };
const TITLES = ["title", "name", "label", "subject", "headline"];

export function titleColumn(columns) {
  const named = TITLES.map((title) => columns.find(({ name }) => name.toLowerCase() === title)).find(Boolean);
  return (named ?? columns.find(({ name, type }) => type === "text" && !/(^|_)(id|code|url)$/i.test(name)))?.name;
}

export function shown(value) {
  if (value === null || value === "") return null;
  if (value === true) return "yes";
  if (value === false) return "no";
  if (typeof value === "number") return value.toLocaleString("en", { maximumFractionDigits: 6 });
  if (Array.isArray(value)) return value.map((member) => (Object(member) === member ? JSON.stringify(member) : member)).join(", ");
  if (typeof value === "object") return JSON.stringify(value);
  if (/^\d{4}-\d\d-\d\dT/.test(value)) return value.slice(0, 16).replace("T", " ").replace(" 00:00", "");
  return value.length > 200 ? `${value.slice(0, 200)}…` : value;
}

function bar(name, value, largest) {
  const fill = make("span", { className: `fill ${name}` });
  fill.style.width = `${Math.max(0, Math.min(100, (100 * value) / (largest || 1)))}%`;
  const text = `${PARTS[name]} ${value.toFixed(3)}`;
  return make("div", { className: "part", title: text },
    make("span", { className: "part-name" }, PARTS[name]),
    make("span", { className: "track", "aria-hidden": "true" }, fill),
    make("span", { className: "part-value" }, value.toFixed(3)));
}

// Marks are offsets in code points: what a string of JavaScript counts otherwise.
function passage({ text, marks }) {
  const characters = [...text];
  const parts = [];
  let done = 0;
  for (const [start, end] of marks) {
    parts.push(characters.slice(done, start).join(""), make("mark", {}, characters.slice(start, end).join("")));
    done = end;
  }
  parts.push(characters.slice(done).join(""));
  return make("blockquote", { className: "passage" }, ...parts.filter((part) => part !== ""));
}

// A cosine and a factor fill their bar at 1; a score of words or of a reranker has no such bound, the best hit's fills it.
function bounds(hits) {
  const largest = (name) => Math.max(0, ...hits.map(({ explain }) => explain?.[name] ?? 0));
  return Object.fromEntries(Object.keys(PARTS).map((name) =>
    [name, name === "keyword" || name === "rerank" ? largest(name) : Math.max(1, largest(name))]));
}

export function cards(hits, columns, addressOf) {
  const title = titleColumn(columns);
  const largest = bounds(hits);
  return hits.map((hit, index) => {
    const parts = Object.keys(PARTS).filter((name) => typeof hit.explain?.[name] === "number");
    const details = Object.entries(hit.metadata).filter(([name, value]) => name !== title && shown(value) !== null);
    const heading = (title && shown(hit.metadata[title])) || `Row ${hit.id}`;
    const item = make("li", { className: "hit", tabIndex: index ? -1 : 0 },
      make("div", { className: "hit-head" },
        make("h2", {}, heading),
        make("span", { className: "score", title: `score ${hit.score}` }, hit.score.toFixed(3))),
      details.length ? make("dl", {}, ...details.map(([name, value]) =>
        make("div", {}, make("dt", {}, name), make("dd", {}, shown(value))))) : null,
      ...(hit.passages ?? []).map(passage),
      make("div", { className: "hit-foot" },
        make("div", { className: "parts" }, ...parts.map((name) => bar(name, hit.explain[name], largest[name]))),
        make("span", { className: "key" }, `#${hit.id}`),
        make("a", { className: "similar", href: addressOf(hit.id), tabIndex: -1, "aria-label": `Rows similar to ${heading}` }, "Similar rows")));
    item.dataset.id = hit.id;
    item.dataset.title = heading;
    return item;
  });
}
