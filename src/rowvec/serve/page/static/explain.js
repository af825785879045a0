// Why a hit is where it is: one bar whose parts add up to its score, the place in each half, and the sums behind it.

import { make } from "./common.js";

const PARTS = { semantic: "meaning", keyword: "words", static: "static", title: "title", rerank: "reranker" };

export function ordinal(number) {
  const tens = number % 100;
  const ending = tens > 10 && tens < 14 ? "th" : { 1: "st", 2: "nd", 3: "rd" }[number % 10] ?? "th";
  return `${number.toLocaleString("en")}${ending}`;
}

const precise = (value) => (Math.abs(value) < 0.1 && value !== 0 ? value.toFixed(4) : value.toFixed(3));

// The weight that a part has, as far as the pipeline's settings say it.
function weightOf(name, explain, mode, { fusion, semantic_weight: weight, static_weight: extra, title_weight: ofTitle } = {}) {
  if (name === "static") return extra === undefined ? "" : `× ${extra}`;
  if (name === "title") return ofTitle === undefined ? "" : `× ${ofTitle}`;
  if (name === "rerank" || mode !== "hybrid") return "";
  if (fusion === "rrf") return explain[`${name}_rank`] ? `1 / (60 + ${explain[`${name}_rank`]})` : "";
  return weight === undefined ? "" : `up to ${precise(name === "semantic" ? weight : 1 - weight)}`;
}

function places(explain) {
  const found = ["semantic", "keyword"].filter((name) => typeof explain[`${name}_rank`] === "number")
    .map((name) => `${PARTS[name]} ${ordinal(explain[`${name}_rank`])}`);
  if (typeof explain.decay === "number") found.push(`age × ${explain.decay.toFixed(2)}`);
  if (typeof explain.rerank === "number") found.push("reranked");
  return found.join(", ") || "by score";
}

// `best` is the score that fills the bar: that of the first hit, so that bars can be compared down the list.
export function why({ score, explain }, best, mode, ranking) {
  const parts = Object.keys(PARTS).filter((name) => typeof explain[`${name}_part`] === "number" && (explain[`${name}_part`] !== 0 || typeof explain[name] === "number"));
  const bar = make("span", { className: "whole", "aria-hidden": "true" }, ...parts.filter((name) => explain[`${name}_part`] > 0).map((name) => {
    const piece = make("span", { className: `fill ${name}` });
    piece.style.width = `${Math.max(0, Math.min(100, (100 * explain[`${name}_part`]) / (best || 1)))}%`;
    return piece;
  }));
  const rows = parts.map((name) => make("tr", {},
    make("th", { scope: "row" }, make("i", { className: `swatch ${name}`, "aria-hidden": "true" }), PARTS[name]),
    make("td", { className: "number" }, typeof explain[name] === "number" ? precise(explain[name]) : "–"),
    make("td", {}, explain[`${name}_rank`] ? ordinal(explain[`${name}_rank`]) : ""),
    make("td", {}, weightOf(name, explain, mode, ranking)),
    make("td", { className: "number" }, precise(explain[`${name}_part`]))));
  if (typeof explain.capped_part === "number") {
    rows.push(make("tr", {}, make("th", { scope: "row", colSpan: 4 }, "not above the hits before it"), make("td", { className: "number" }, precise(explain.capped_part))));
  }
  const head = ["part", "measured", "place", "weight", "adds"].map((text) => make("th", { scope: "col" }, text));
  return make("details", { className: "why" },
    make("summary", {}, bar, make("span", {}, places(explain))),
    make("table", {},
      make("caption", {}, typeof explain.decay === "number" ? `Each part after its age: × ${precise(explain.decay)}` : "What the score adds up from"),
      make("thead", {}, make("tr", {}, ...head)),
      make("tbody", {}, ...rows),
      make("tfoot", {}, make("tr", {}, make("th", { scope: "row", colSpan: 4 }, "score"), make("td", { className: "number" }, precise(score))))));
}
