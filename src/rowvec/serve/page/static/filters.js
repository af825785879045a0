// One typed input, or a pair, for each metadata column; their values as the API's filters.

import { make } from "./common.js";

const LOGIC = new Set(["and", "or", "not"]);
const INPUT = { integer: "number", number: "number", decimal: "number", date: "date", time: "time", timestamp: "datetime-local" };

// A column named like a word of the filter language is written in double quotes.
const keyOf = (name) => (LOGIC.has(name) || /^".*"$/s.test(name) ? `"${name.replaceAll('"', '""')}"` : name);

// An integer beyond 2^53 goes out digit by digit, where the browser can do that.
const numberOf = (text) => (/^-?[1-9]\d{15,}$/.test(text) && JSON.rawJSON ? JSON.rawJSON(text) : Number(text));

function range(column) {
  const type = INPUT[column.type];
  const step = column.type === "integer" ? "1" : "any";
  const [low, high] = ["from", "to"].map((word) =>
    make("input", { type, placeholder: type === "number" ? word : "", step, "aria-label": `${column.name} ${word}` }));
  const valueOf = ({ value }) => (column.type === "decimal" || type !== "number" ? value : numberOf(value));
  return {
    inputs: [low, make("span", { className: "to", "aria-hidden": "true" }, "–"), high],
    read() {
      const found = {};
      if (low.value) found[">="] = valueOf(low);
      if (high.value) found["<="] = valueOf(high);
      return Object.keys(found).length ? found : undefined;
    },
    write(value) {
      low.value = value?.[">="] ?? "";
      high.value = value?.["<="] ?? "";
    },
  };
}

function choice(column) {
  const select = make("select", { "aria-label": column.name },
    make("option", { value: "" }, "any"), make("option", { value: "true" }, "yes"), make("option", { value: "false" }, "no"));
  return {
    inputs: [select],
    read: () => (select.value ? select.value === "true" : undefined),
    write: (value) => { select.value = value === undefined ? "" : String(value); },
  };
}

function words(column) {
  const operators = { text: ["contains", "=", "!="], uuid: ["=", "!="] }[column.type] ?? ["contains"];
  const names = { contains: "contains", "=": "is", "!=": "is not" };
  const operator = make("select", { "aria-label": `${column.name} condition` },
    ...operators.map((value) => make("option", { value }, names[value])));
  const input = make("input", { type: "text", maxLength: 1000, "aria-label": column.name });
  return {
    inputs: [operator, input],
    read: () => (input.value ? { [operator.value]: input.value } : undefined),
    write(value) {
      [operator.value, input.value] = value ? Object.entries(value)[0] : [operators[0], ""];
    },
  };
}

function fieldOf(column) {
  if (column.type === "boolean") return choice(column);
  return column.type in INPUT ? range(column) : words(column);
}

export class Filters {
  constructor(container, columns) {
    this.fields = columns.filter(({ type }) => type !== "bytes").map((column) => ({ column, ...fieldOf(column) }));
    container.replaceChildren(...this.fields.map(({ column, inputs }) =>
      make("fieldset", { className: "field" },
        make("legend", {}, column.name, make("small", {}, column.type === "timestamp" ? "UTC" : column.type)),
        make("div", { className: `inputs ${column.type}` }, ...inputs))));
  }

  read() {
    const entries = this.fields.map(({ column, read }) => [keyOf(column.name), read()]);
    return Object.fromEntries(entries.filter(([, value]) => value !== undefined));
  }

  write(filters) {
    for (const { column, write } of this.fields) write(filters[keyOf(column.name)]);
  }
}
