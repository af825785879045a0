import assert from "node:assert/strict";
import { test } from "node:test";

import { load } from "./page.js";

const { moves } = await load("settings.js");
const { ordinal } = await load("explain.js");
const { modeOf, unknownParts } = await load("common.js");

test("a hit has moved by the places between both lists; null where the other list lacks it", () => {
  assert.deepEqual(moves(["a", "b", "c"], ["c", "a", "d"]), [2, -1, null]);
  assert.deepEqual(moves([], ["a"]), [null]);
});

test("places are written as ordinals", () => {
  assert.deepEqual([1, 2, 3, 4, 11, 12, 13, 21, 102, 1111].map(ordinal),
    ["1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "102nd", "1,111th"]);
});

test("a mode that the pipeline lacks is said with those that it has", () => {
  const pipeline = { name: "shop", modes: ["semantic", "keyword"] };
  assert.equal(modeOf(new URLSearchParams("mode=semantic"), pipeline), "semantic");
  assert.equal(modeOf(new URLSearchParams(), pipeline), "keyword");
  assert.throws(() => modeOf(new URLSearchParams("mode=fuzzy"), pipeline), /no mode "fuzzy"/);
});

test("unknown parts of an address are named, those of a newsletter are not", () => {
  assert.equal(unknownParts(new URLSearchParams("query=x&utm_source=mail"), ["query"]), null);
  assert.match(unknownParts(new URLSearchParams("qurey=x"), ["query"]), /does not know: qurey/);
});
