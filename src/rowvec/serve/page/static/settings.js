// One side of a comparison: its inputs, what of it differs from rowvec.toml, and that as TOML.

import { make, MODES } from "./common.js";

const RANKING = ["fusion", "semantic_weight", "static", "static_weight", "title", "title_weight", "decay", "half_life_days"];
const NUMBERS = new Set(["semantic_weight", "static_weight", "title_weight", "half_life_days"]);
const STATES = { live: "live", previous: "previous", building: "being built" };

export class Side {
  constructor(fieldset, pipeline, generations) {
    this.fieldset = fieldset;
    this.pipeline = pipeline;
    const names = Object.keys(MODES).filter((mode) => pipeline.modes.includes(mode));
    this.fill("mode", names.map((mode) => [mode, MODES[mode]]));
    const known = generations.some(({ state }) => state === "live") ? generations : [{ state: "live", model: "no vectors yet", rows: null }, ...generations];
    this.fill("generation", known.map(({ state, model, rows }) => [state, `${STATES[state]}: ${model.replace(/^[^(\s]*\//, "")}${rows === null ? "" : `, ${rows.toLocaleString("en")} ${rows === 1 ? "row" : "rows"}`}`]));
    const dates = pipeline.columns.filter(({ type }) => type === "date" || type === "timestamp");
    this.fill("decay", [["", "nothing"], ...dates.map(({ name }) => [name, name])]);
    this.fill("title", [["", "nothing"], ...pipeline.columns.filter(({ type }) => type === "text").map(({ name }) => [name, name])]);
    this.input("rerank").closest("label").hidden = !pipeline.reranks;
    this.write({});
  }

  input(name) {
    return this.fieldset.querySelector(`[name="${CSS.escape(name)}"]`);
  }

  fill(name, options) {
    this.input(name).replaceChildren(...options.map(([value, text]) => make("option", { value }, text)));
  }

  // A setting that cannot be shown makes the whole one wrong: its name is given back.
  write(setting) {
    const { ranking = {}, ...rest } = Object(setting);
    const wanted = { mode: this.pipeline.modes.at(-1), generation: "live", rerank: false, ...this.pipeline.ranking, ...rest, ...Object(ranking) };
    this.fieldset.querySelector(".ranking").open = Object.keys(Object(ranking)).length > 0 || rest.rerank === true;
    const strange = Object.keys(wanted).find((name) => !this.input(name));
    if (strange) return strange;
    for (const [name, value] of Object.entries(wanted)) {
      const input = this.input(name);
      if (input.type === "checkbox") input.checked = value === true;
      else input.value = value ?? "";
      if (input.type !== "checkbox" && input.value !== String(value ?? "")) return name;
    }
    return null;
  }

  ranking() {
    const entries = RANKING.map((name) => {
      const text = this.input(name).value.trim();
      return [name, text === "" ? null : NUMBERS.has(name) ? Number(text) : text];
    });
    return Object.fromEntries(entries);
  }

  // What differs from the config; null switches off.
  changes() {
    return Object.fromEntries(Object.entries(this.ranking()).filter(([name, value]) => value !== this.pipeline.ranking[name]));
  }

  // As the request of a search takes it, without what is as always.
  read() {
    const ranking = this.changes();
    const mode = this.input("mode").value;
    const generation = this.input("generation").value;
    return {
      ...(mode !== this.pipeline.modes.at(-1) && { mode }),
      ...(generation !== "live" && { generation }),
      ...(this.input("rerank").checked && { rerank: true }),
      ...(Object.keys(ranking).length && { ranking }),
    };
  }

  invalid() {
    return [...this.fieldset.querySelectorAll("input")].find((input) => !input.checkValidity());
  }

  toml() {
    const name = /^[\w-]+$/.test(this.pipeline.name) ? this.pipeline.name : JSON.stringify(this.pipeline.name);
    const lines = Object.entries(this.ranking()).filter(([, value]) => value !== null).map(([key, value]) => `${key} = ${JSON.stringify(value)}`);
    return `[pipelines.${name}.search]\n${lines.join("\n")}\n`;
  }
}

// How far the same hits are in both lists: how many they share, and how far each has moved; null for a new one.
export function moves(before, after) {
  const places = new Map(before.map((id, index) => [String(id), index]));
  return after.map((id, index) => (places.has(String(id)) ? places.get(String(id)) - index : null));
}
