import assert from "node:assert/strict";
import { test } from "node:test";

import { load } from "./page.js";

const { entries, lit, mix, NONE, OTHER, stale, summary, variable } = await load("map_words.js");

const MAP = {
  points: 1200, gone: 0, left_out: 0, made_at: "2026-05-01T10:00:00Z", column: "brand", by: null, kind: "names", aspects: { cut: "text cut" },
  legend: [{ label: "HP", rows: 700 }, { label: "Dell", rows: 300 }], other: 150, none: 50, nothing: "none",
};

test("steps are spread over all shades, names have the colour of their place", () => {
  assert.deepEqual([0, 1].map((code) => variable(MAP, code)), ["--c0", "--c1"]);
  const steps = { ...MAP, kind: "steps", legend: Array(4).fill({}) };
  assert.deepEqual([0, 1, 2, 3].map((code) => variable(steps, code)), ["--s0", "--s2", "--s4", "--s6"]);
  assert.equal(variable({ ...steps, legend: [{}] }, 0), "--s0");
  assert.deepEqual([OTHER, NONE].map((code) => variable(MAP, code)), ["--other", "--none"]);
  assert.equal(variable({ ...MAP, column: null }, OTHER), "--c0", "without colours all points have the first one");
});

test("the legend names rows without a value only where there is something to have a value of", () => {
  assert.deepEqual(entries(MAP).map(([, label]) => label), ["HP", "Dell", "other", "none"]);
  assert.deepEqual(entries({ ...MAP, column: null, by: "failure", nothing: "no failure" }).at(-1), [NONE, "no failure", 50]);
  assert.deepEqual(entries({ ...MAP, column: null, legend: [], other: 0 }), []);
});

test("a selection is described by its most frequent labels, and no share is 0 or 100 unless it is", () => {
  assert.equal(mix(MAP, [0, 0, 0, 1]), "brand: HP (75 %), Dell (25 %)");
  assert.equal(mix(MAP, [1, 1]), "brand: Dell");
  assert.equal(mix(MAP, [...Array(999).fill(0), 1]), "brand: HP (99 %), Dell (1 %)");
  assert.equal(mix(MAP, [OTHER, NONE]), "brand: other (50 %), none (50 %)");
  assert.equal(mix({ ...MAP, column: null, by: "cut" }, [0]), "text cut: HP");
  assert.equal(mix({ ...MAP, column: null }, [0]), "");
});

test("numbers of rows have their verb", () => {
  assert.equal(stale({ missing: 1, gone: 2 }, "shop"), "1 row is not on the map, 2 rows are gone. rowvec map -p shop draws it again.");
  assert.equal(stale({ changed: 1 }, "shop"), "1 row has a new vector since it was drawn. rowvec map -p shop draws it again.");
  assert.equal(stale({}, "shop"), "");
  assert.match(summary(MAP), /^1,200 rows, drawn 1 May 2026/);
  assert.match(summary({ ...MAP, left_out: 1100 }), /^100 of 1,200 rows match, drawn/);
  assert.match(summary({ ...MAP, points: 1 }), /^1 row, drawn/);
  assert.match(summary({ ...MAP, rows: 10_000_000 }), /^1,200 rows, chosen by chance among 10,000,000, drawn/);
});

test("hits that are not on the map are said", () => {
  assert.equal(lit({ all: 100, absent: 0 }), "The 100 nearest rows are lit.");
  assert.equal(lit({ all: 100, absent: 2 }), "The 100 nearest rows are lit; 2 of them are not on the map.");
  assert.equal(lit({ all: 1, absent: 1 }), "The nearest row is lit; 1 of them is not on the map.");
  assert.equal(lit({ all: 0, absent: 0 }), "Nothing found. Say it in other words.");
});

test("points are read from the bytes that the server sends", async () => {
  const { decoded } = await load("map_points.js");
  const header = new TextEncoder().encode('{"points":2,"version":7}');
  const body = new Uint8Array(4 + header.length + 8 + 2);
  new DataView(body.buffer).setUint32(0, header.length, true);
  body.set(header, 4);
  [1, 256, 65535, 0].forEach((value, at) => { new DataView(body.buffer).setUint16(4 + header.length + 2 * at, value, true); });
  body.set([3, 254], 4 + header.length + 8);
  const found = decoded(body.buffer);
  assert.deepEqual([found.version, [...found.places], [...found.codes]], [7, [1, 256, 65535, 0], [3, 254]]);
});
