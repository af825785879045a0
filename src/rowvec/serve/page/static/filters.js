// One typed input, or a pair, for each metadata column; their values as the API's filters. What a link holds that no
// input can show is kept as it is, shown as a chip, and sent along: a filter is never dropped.

import { make } from "./common.js";

// A text of blanks, which would be seen as nothing.
export const EMPTY = "(empty)";

const LOGIC = new Set(["and", "or", "not"]);
const INPUT = { integer: "number", number: "number", decimal: "number", date: "date", time: "time", timestamp: "datetime-local" };
const SIGNS = { ">=": "≥", "<=": "≤", "=": "is", "!=": "is not", "<": "<", ">": ">", contains: "contains", like: "like", in: "in", between: "between" };

// A column named like a word of the filter language is written in double quotes.
const keyOf = (name) => (LOGIC.has(name) || /^".*"$/s.test(name) ? `"${name.replaceAll('"', '""')}"` : name);

// An integer beyond 2^53 goes out digit by digit, where the browser can do that.
const numberOf = (text) => (/^-?[1-9]\d{15,}$/.test(text) && JSON.rawJSON ? JSON.rawJSON(text) : Number(text));

const isObject = (value) => Object(value) === value && !Array.isArray(value);
const operators = (value) => (isObject(value) ? Object.keys(value) : []);

function range(column) {
  const type = INPUT[column.type];
  const step = column.type === "integer" ? "1" : "any";
  const [low, high] = ["from", "to"].map((word) =>
    make("input", { type, placeholder: type === "number" ? word : "", step, "aria-label": `${column.name} ${word}` }));
  const typed = ({ value }) => (column.type === "decimal" || type !== "number" ? value : numberOf(value));
  const shows = (input, value) => {
    input.value = value ?? "";
    const taken = value === undefined || (["string", "number"].includes(typeof value) && input.value === String(value) && input.checkValidity());
    if (!taken) input.value = "";
    return taken;
  };
  const beside = (text) => make("span", { className: "to", "aria-hidden": "true" }, text);
  return {
    inputs: type === "number" ? [low, beside("–"), high] : [beside("from"), low, beside("to"), high],
    read() {
      const found = {};
      if (low.value) found[">="] = typed(low);
      if (high.value) found["<="] = typed(high);
      return Object.keys(found).length ? found : undefined;
    },
    write(value) {
      const drawn = value === undefined || (operators(value).length > 0 && operators(value).every((sign) => sign === ">=" || sign === "<="));
      const taken = drawn && shows(low, value?.[">="]) && shows(high, value?.["<="]);
      if (!taken) low.value = high.value = "";
      return taken;
    },
  };
}

function choice(column) {
  const select = make("select", { "aria-label": column.name },
    make("option", { value: "" }, "any"), make("option", { value: "true" }, "yes"), make("option", { value: "false" }, "no"));
  return {
    inputs: [select],
    read: () => (select.value ? select.value === "true" : undefined),
    write(value) {
      const drawn = value === undefined || typeof value === "boolean";
      select.value = drawn && value !== undefined ? String(value) : "";
      return drawn;
    },
  };
}

function words(column) {
  const offered = { text: ["contains", "=", "!="], uuid: ["=", "!="] }[column.type] ?? ["contains"];
  const operator = make("select", { "aria-label": `${column.name} condition` },
    ...offered.map((value) => make("option", { value }, SIGNS[value])));
  const input = make("input", { type: "text", maxLength: 1000, "aria-label": column.name });
  return {
    inputs: [operator, input],
    read: () => (input.value ? { [operator.value]: input.value } : undefined),
    write(value) {
      const given = typeof value === "string" && offered.includes("=") ? { "=": value } : value;
      const [[sign, text] = []] = isObject(given) ? Object.entries(given) : [];
      const taken = operators(given).length === 1 && offered.includes(sign) && typeof text === "string" && text !== "" && text.length <= 1000 && !/[\r\n]/.test(text);
      [operator.value, input.value] = taken ? [sign, text] : [offered[0], ""];
      return taken || value === undefined;
    },
  };
}

function fieldOf(column) {
  if (column.type === "boolean") return choice(column);
  return column.type in INPUT ? range(column) : words(column);
}

function inWords(value) {
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (isObject(value) && !value.rawJSON && Object.keys(value).every((sign) => sign in SIGNS && Object(value[sign]) !== value[sign])) {
    return Object.entries(value).map(([sign, operand]) => `${SIGNS[sign]} ${String(operand).trim() ? operand : EMPTY}`).join(", ");
  }
  return Object(value) === value ? JSON.stringify(value) : String(value);
}

export class Filters {
  constructor(container, columns) {
    this.container = container;
    this.fields = columns.filter(({ type }) => type !== "bytes").map((column) => ({ column, key: keyOf(column.name), ...fieldOf(column) }));
    this.write({});
    container.replaceChildren(...this.fields.map(({ column, inputs }) =>
      make("fieldset", { className: "field" },
        make("legend", {}, column.name, make("small", {}, column.type === "timestamp" ? "UTC" : column.type)),
        make("div", { className: `inputs ${column.type}` }, ...inputs))));
  }

  // As the API takes them: an object, or the text of a link; undefined for none.
  read() {
    if (this.text !== null) return this.text;
    const drawn = this.drawn();
    const both = Object.keys(this.kept).some((key) => key in drawn);
    const found = both ? { and: [this.kept, drawn] } : { ...this.kept, ...drawn };
    return Object.keys(found).length ? found : undefined;
  }

  drawn() {
    const entries = this.fields.map(({ key, read }) => [key, read()]);
    return Object.fromEntries(entries.filter(([, value]) => value !== undefined));
  }

  // The condition on one column, as the API takes it.
  get(name) {
    const known = this.text === null ? this.read() : undefined;
    return known?.and ? undefined : known?.[keyOf(name)];
  }

  set(name, value) {
    if (this.text !== null) return;
    const { [keyOf(name)]: _, ...rest } = { ...this.kept, ...this.drawn() };
    this.write(value === undefined ? rest : { ...rest, [keyOf(name)]: value });
  }

  // An object, or text in the language of `where`.
  write(filters) {
    this.text = isObject(filters) ? null : String(filters);
    this.kept = this.text === null ? { ...filters } : {};
    for (const { key, write } of this.fields) {
      if (write(Object.hasOwn(this.kept, key) ? this.kept[key] : undefined)) delete this.kept[key];
    }
    // Beside a filter as text, the inputs would say nothing true.
    for (const { inputs } of this.fields) for (const input of inputs) if ("disabled" in input) input.disabled = this.text !== null;
  }

  // The first input whose value is none.
  invalid() {
    return this.fields.flatMap(({ inputs }) => inputs).find((input) => input.checkValidity?.() === false);
  }

  focus(name) {
    this.fields.find(({ column }) => column.name === name)?.inputs.find((input) => input.matches("input"))?.focus();
  }

  // What is filtered by, each with the way to take it away.
  chips() {
    if (this.text !== null) return [{ label: this.text, remove: () => this.write({}) }];
    const drawn = this.fields.filter(({ read }) => read() !== undefined)
      .map(({ column, read, write }) => ({ label: `${column.name} ${inWords(read())}`, remove: () => write(undefined) }));
    const kept = Object.entries(this.kept)
      .map(([key, value]) => ({ label: `${key} ${inWords(value)}`, remove: () => delete this.kept[key] }));
    return [...drawn, ...kept];
  }
}
