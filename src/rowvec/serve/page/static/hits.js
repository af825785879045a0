// Hits as cards: what a row is called, its picture and values by their roles, where it answers, and why it is there.

import { make } from "./common.js";
import { why } from "./explain.js";

const TITLES = ["title", "name", "label", "subject", "headline"];
const IDS = /(^|[_ -])(id|ids|uuid|guid|key|code|hash|ean|gtin|isbn)$|^(id|uuid|guid)([_ -]|$)/i;
const LONG = 80;
const OPEN = 8;
const DAY = 86_400_000;
const UNITS = [["year", 31_557_600], ["month", 2_629_800], ["day", 86_400], ["hour", 3_600], ["minute", 60]];

export function titleColumn(columns, card) {
  if (card?.title) return card.title;
  const named = TITLES.map((title) => columns.find(({ name }) => name.toLowerCase() === title)).find(Boolean);
  return (named ?? columns.find(({ name, type }) => type === "text" && !/(^|_)(id|code|url)$/i.test(name)))?.name;
}

// A year, or another number of four digits, has no comma; what six decimals would not show has more.
export function number(value) {
  if (value && Math.abs(value) < 1e-4) return String(Number(value.toPrecision(6)));
  return value.toLocaleString("en", { maximumFractionDigits: 6, useGrouping: "min2" });
}

export function shown(value, most = 200) {
  if (value === null || value === undefined || (typeof value === "string" && !value.trim())) return null;
  if (value === true) return "yes";
  if (value === false) return "no";
  if (typeof value === "number") return number(value);
  if (Array.isArray(value)) return value.map((member) => (Object(member) === member ? JSON.stringify(member) : member)).join(", ");
  if (typeof value === "object") return JSON.stringify(value);
  if (/^\d{4}-\d\d-\d\dT/.test(value)) return value.slice(0, 16).replace("T", " ").replace(" 00:00", "");
  return value.length > most ? `${value.slice(0, most)}…` : value;
}

export const headingOf = ({ id, metadata }, pipeline) =>
  shown(metadata[titleColumn(pipeline.columns, pipeline.card)]) || `Row ${id}`;

// Only the two kinds of addresses that a browser opens as a page, whatever a column holds.
export function webAddress(text) {
  try {
    const { protocol, href } = new URL(text);
    return protocol === "https:" || protocol === "http:" ? href : null;
  } catch {
    return null;
  }
}

// Where the row itself is seen: a column that holds an address, or an address with columns or the key in braces.
export function sourceOf({ id, metadata }, { card, key }) {
  if (!card?.url) return null;
  const value = (name) => (name in metadata ? metadata[name] : name === "id" || name === key ? id : null);
  if (!card.url.includes("{")) return webAddress(value(card.url));
  const names = [...card.url.matchAll(/\{([^{}]*)\}/g)].map(([, name]) => name);
  if (names.some((name) => value(name) === null)) return null;
  return webAddress(card.url.replace(/\{([^{}]*)\}/g, (_, name) => encodeURIComponent(value(name))));
}

export function ago(moment, now = Date.now()) {
  const seconds = (moment - now) / 1000;
  if (Math.abs(seconds) < 60) return "just now";
  const [unit, length] = UNITS.find(([, size]) => Math.abs(seconds) >= size);
  // "Last year" would be a year of the calendar.
  return new Intl.RelativeTimeFormat("en").format(Math.round(seconds / length), unit);
}

// Of a day without a time: counted by the calendar of whoever reads it.
export function daysAway(day, now = new Date()) {
  const today = Date.UTC(now.getFullYear(), now.getMonth(), now.getDate());
  const days = Math.round((Date.parse(day) - today) / DAY);
  return Math.abs(days) < 2 ? new Intl.RelativeTimeFormat("en", { numeric: "auto" }).format(days, "day") : ago(today + days * DAY, today);
}

export const took = (ms) => (ms < 10 ? `${ms.toFixed(1)} ms` : ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`);

// A value as it is read: a date by its age, an address as a link.
export function readable(value, type, most) {
  const text = shown(value, most);
  if ((type === "timestamp" || type === "date") && /^\d{4}-\d\d-\d\d/.test(value)) {
    const moment = Date.parse(value.length > 10 && !/(Z|[+-]\d\d:?\d\d)$/.test(value) ? `${value}Z` : value);
    return Number.isNaN(moment) ? text : make("time", { dateTime: value, title: text }, type === "date" ? daysAway(value) : ago(moment));
  }
  const address = typeof value === "string" && /^https?:\/\//.test(value) ? webAddress(value) : null;
  return address ? make("a", { href: address, rel: "noreferrer noopener" }, text) : text;
}

// Marks are offsets in code points: what a string of JavaScript counts otherwise.
export function marked(text, marks, tag = "mark") {
  const characters = [...text];
  const parts = [];
  let done = 0;
  for (const [start, end] of marks) {
    parts.push(characters.slice(done, start).join(""), make(tag, {}, characters.slice(start, end).join("")));
    done = end;
  }
  parts.push(characters.slice(done).join(""));
  return parts.filter((part) => part !== "");
}

const passage = ({ text, marks }) => make("blockquote", { className: "passage" }, ...marked(text, marks));

function picture(hit, { card }) {
  const address = card?.image ? webAddress(hit.metadata[card.image]) : null;
  if (!address || !card.image_hosts.some((host) => allowed(host, address))) return null;
  const image = make("img", { className: "picture", alt: "", loading: "lazy", decoding: "async", width: 84, height: 84, src: address });
  image.addEventListener("error", () => image.remove());
  return image;
}

function allowed(host, address) {
  const { origin, protocol, hostname } = new URL(address);
  const wild = /^(https?:)\/\/\*(\..+)$/.exec(host);
  return wild ? protocol === wild[1] && hostname.endsWith(wild[2]) : origin === new URL(host).origin;
}

// Values by name; ids, long ones and those beyond the first few are folded away unless the config names the fields.
export function details(hit, pipeline, open = OPEN) {
  const { card, columns } = pipeline;
  const types = Object.fromEntries(columns.map(({ name, type }) => [name, type]));
  const roles = new Set([titleColumn(columns, card), card?.image, card?.snippet]);
  const names = card?.fields.length ? card.fields : Object.keys(hit.metadata).filter((name) => !roles.has(name));
  const filled = names.filter((name) => shown(hit.metadata[name]) !== null);
  const folds = (name) => !card?.fields.length && (types[name] === "uuid" || IDS.test(name) || shown(hit.metadata[name]).length > LONG);
  const first = filled.filter((name) => !folds(name)).slice(0, card?.fields.length || open);
  const list = (some) => make("dl", {}, ...some.map((name) =>
    make("div", {}, make("dt", {}, name), make("dd", {}, readable(hit.metadata[name], types[name])))));
  const rest = filled.filter((name) => !first.includes(name));
  return [
    first.length ? list(first) : null,
    rest.length ? make("details", { className: "more" }, make("summary", {}, `${rest.length} more ${rest.length === 1 ? "value" : "values"}`), list(rest)) : null,
  ];
}

// `links(hit)` gives the addresses of the row's own page and of its similar rows, and what else stands at the foot.
export function cards(hits, pipeline, links, { mode = "semantic", best = Math.max(0, ...hits.map(({ score }) => score)) } = {}) {
  return hits.map((hit, index) => {
    const heading = headingOf(hit, pipeline);
    const { row, similar, more = [] } = links(hit, index);
    const snippet = hit.passages?.length ? null : shown(hit.metadata[pipeline.card?.snippet]);
    const source = sourceOf(hit, pipeline);
    const item = make("li", { className: "hit", tabIndex: index ? -1 : 0 },
      picture(hit, pipeline),
      make("div", { className: "hit-head" },
        make("h2", {}, make("a", { href: row }, heading)),
        hit.score === null ? null : make("span", { className: "score" }, make("span", { className: "visually-hidden" }, "score "), hit.score.toFixed(3))),
      ...details(hit, pipeline),
      snippet ? make("p", { className: "snippet" }, snippet) : null,
      ...(hit.passages ?? []).map(passage),
      hit.explain ? why(hit, best, mode, pipeline.ranking) : null,
      make("div", { className: "hit-foot" },
        make("span", { className: "key", title: `${hit.id}` }, `#${hit.id}`),
        source ? make("a", { href: source, rel: "noreferrer noopener" }, "Open the source") : null,
        similar ? make("a", { className: "similar", href: similar, "aria-label": `Similar rows: ${heading}` }, "Similar rows") : null,
        ...more));
    item.dataset.id = hit.id;
    return item;
  });
}

// Parts of the store that did not answer.
export function missing(reply) {
  const parts = reply.missing_parts ?? [];
  if (!parts.length) return [];
  const named = parts.length > 1 ? `Parts ${parts.slice(0, -1).join(", ")} and ${parts.at(-1)} of the store do` : `Part ${parts[0]} of the store does`;
  return [make("strong", { className: "missing" }, `${named} not answer: the rows there are missing. `)];
}

// What was found before stays below an error, and is not taken for an answer to what was asked now.
export function keepFormer(summary, ...lists) {
  for (const list of lists) list.classList.toggle("former", list.children.length > 0);
  summary.textContent = lists.some((list) => list.children.length) ? "Below is what the search before found." : "";
}
