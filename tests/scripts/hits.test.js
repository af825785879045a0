import assert from "node:assert/strict";
import { test } from "node:test";

import { load } from "./page.js";

const { ago, daysAway, headingOf, marked, shown, sourceOf, titleColumn, webAddress } = await load("hits.js");

const COLUMNS = [{ name: "sku_code", type: "text" }, { name: "about", type: "text" }, { name: "Name", type: "text" }];

test("the title is the column of the config, then a column of that name, then the first text that is not a code", () => {
  assert.equal(titleColumn(COLUMNS, { title: "about" }), "about");
  assert.equal(titleColumn(COLUMNS, null), "Name");
  assert.equal(titleColumn(COLUMNS.slice(0, 2), null), "about");
  assert.equal(titleColumn([{ name: "price", type: "number" }], null), undefined);
});

test("a row without a title is named by its key", () => {
  assert.equal(headingOf({ id: 7, metadata: { Name: " " } }, { columns: COLUMNS }), "Row 7");
  assert.equal(headingOf({ id: 0, metadata: {} }, { columns: COLUMNS }), "Row 0");
});

test("a year has no comma, and a small number is not zero", () => {
  assert.deepEqual([2024, -1190.5, 12345, 0.0000012, 0].map(shown), ["2024", "-1190.5", "12,345", "0.0000012", "0"]);
});

test("values are read by people: yes and no, groups of digits, nothing for blanks", () => {
  assert.deepEqual([true, false, 1234567.25, null, "  ", [1, null, { a: 2 }]].map(shown),
    ["yes", "no", "1,234,567.25", null, null, '1, , {"a":2}']);
});

test("only addresses that a browser opens as a page are links", () => {
  assert.equal(webAddress("https://shop.example/a b"), "https://shop.example/a%20b");
  for (const text of ["javascript:alert(1)", "data:text/html,x", "shop.example", ""]) assert.equal(webAddress(text), null);
});

test("the source is a column, or an address with the key and columns in it, each of them escaped", () => {
  const row = { id: "a/b", metadata: { link: "https://x.example/1", name: "lamp & co", none: null } };
  const source = (url) => sourceOf(row, { card: { url }, key: "sku" });
  assert.equal(source("link"), "https://x.example/1");
  assert.equal(source("https://shop.example/{id}?n={name}"), "https://shop.example/a%2Fb?n=lamp%20%26%20co");
  assert.equal(source("https://shop.example/{sku}"), "https://shop.example/a%2Fb");
  assert.equal(source("https://shop.example/{none}"), null, "a null value gives no link");
  assert.equal(sourceOf(row, { card: null }), null);
});

test("ages are rounded in the largest unit that has passed", () => {
  const now = Date.parse("2026-11-28T12:00:00Z");
  const from = (text) => ago(Date.parse(text), now);
  assert.deepEqual(["2026-11-28T11:59:40Z", "2026-11-28T09:00:00Z", "2026-11-27T11:00:00Z", "2024-12-31T23:59:59Z", "2025-10-01T00:00:00Z", "2027-11-29T00:00:00Z"].map(from),
    ["just now", "3 hours ago", "1 day ago", "2 years ago", "1 year ago", "in 1 year"], "2024 is not last year");
});

test("days are counted by the calendar, at any hour", () => {
  for (const hour of [0, 1, 23]) {
    const from = (day) => daysAway(day, new Date(2026, 10, 28, hour, 30));
    assert.deepEqual(["2026-11-28", "2026-11-27", "2026-11-29", "2026-11-30", "2026-11-26", "2024-12-31"].map(from),
      ["today", "yesterday", "tomorrow", "in 2 days", "2 days ago", "2 years ago"]);
  }
});

test("marks count characters as Python does, also behind a letter of two units", () => {
  globalThis.document.createElement = () => ({ append(...parts) { this.text = parts.join(""); } });
  const parts = marked("🛋 sofa red", [[2, 6]]);
  assert.deepEqual(parts.map((part) => part.text ?? part), ["🛋 ", "sofa", " red"]);
});
