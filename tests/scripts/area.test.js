import assert from "node:assert/strict";
import { test } from "node:test";

import { load } from "./page.js";

const { contains, MOST_CORNERS, placed, pointsInside, read, rectangle, simplified, written } = await load("area.js");

const HOOK = [0, 0, 10, 0, 10, 10, 8, 10, 8, 2, 0, 2];

test("a point is inside a shape with a bay only where the shape is", () => {
  assert.deepEqual([[1, 1], [9, 9], [9, 1], [4, 6], [11, 1], [-1, 1]].map(([x, y]) => contains(HOOK, x, y)),
    [true, true, true, false, false, false]);
});

test("a point on the edge between two rectangles belongs to one of them", () => {
  const both = [rectangle(0, 0, 5, 5), rectangle(5, 0, 5, 5)].map((area) => contains(area, 5, 2));
  assert.equal(both.filter(Boolean).length, 1);
});

test("points inside are those that are shown", () => {
  const places = Uint16Array.from([1, 1, 9, 9, 4, 6, 9, 1]);
  assert.deepEqual(pointsInside(HOOK, places, () => true), [0, 1, 3]);
  assert.deepEqual(pointsInside(HOOK, places, (point) => point !== 1), [0, 3]);
});

test("a drawn line of many corners becomes few that hold the same points", () => {
  const circle = Array.from({ length: 500 }, (_, at) => {
    const angle = (2 * Math.PI * at) / 500;
    return [30_000 + 20_000 * Math.cos(angle), 30_000 + 20_000 * Math.sin(angle)];
  }).flat();
  const few = simplified(circle);
  assert.equal(few.length, 2 * MOST_CORNERS);
  for (const [x, y, expected] of [[30_000, 30_000, true], [49_000, 30_000, true], [51_000, 30_000, false], [44_500, 44_500, false]]) {
    assert.equal(contains(few, x, y), expected);
  }
});

test("a click or a line is not an area, and corners stay on the map", () => {
  assert.equal(simplified([5, 5, 5.2, 5.1, 5, 5]), null);
  assert.deepEqual(simplified([-50, 0, 70_000, 0, 70_000, 9, 3, 9]), [0, 0, 65_535, 0, 65_535, 9, 3, 9]);
});

test("an area comes back from an address, and nonsense does not", () => {
  assert.deepEqual(read(written(HOOK)), HOOK);
  for (const text of ["", "1,2,3,4", "1,2,3,4,5", "1,2,3,4,5,x", "1,2,3,4,5,70000", "1,2,3,4,5,-1", Array(2 * MOST_CORNERS + 2).fill(1).join(",")]) {
    assert.equal(read(text), null, text);
  }
});

test("the first of two boxes that overlap has the room", () => {
  assert.deepEqual(placed([[0, 0, 50, 20], [40, 10, 50, 20], null, [60, 0, 50, 20], [53, 0, 5, 5]]), [true, false, false, true, false]);
  assert.deepEqual(placed([[0, 0, 50, 20], [50, 0, 50, 20]], 0), [true, true]);
});
