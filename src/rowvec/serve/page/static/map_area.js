// An area of the map that is chosen: drawn with a lasso, or as a rectangle by keys; its rows below the map, or alone on it.

import { make } from "./common.js";
import { pointsInside, rectangle, simplified } from "./area.js";

const STEP = 20;
const LEAST = 20;
const LISTED = 20;
const byId = (id) => document.getElementById(id);

export class Area {
  // `shows(point)` tells whether a point counts, `rowsOf(points)` gives rows, `entry(row)` draws one of the list, `mix(points)` says
  // in words what they are. `changed()` is called when somebody has chosen otherwise.
  constructor(view, { shows, rowsOf, entry, mix, changed, say }) {
    Object.assign(this, { view, shows, rowsOf, entry, mix, changed, say, polygon: null, points: [], only: false, line: [], box: null });
    view.over = (context) => this.paint(context);
    byId("lasso").addEventListener("click", () => this.use(view.tool && this.lassoing ? null : "lasso"));
    byId("rectangle").addEventListener("click", () => this.use(this.box ? null : "rectangle"));
    byId("area-only").addEventListener("click", () => this.show(this.polygon, !this.only, true));
    byId("area-clear").addEventListener("click", () => (this.show(null, false, true), view.canvas.focus()));
    byId("area-more").addEventListener("click", () => this.more(true));
  }

  // Drawing

  use(tool) {
    this.lassoing = tool === "lasso";
    this.line = [];
    const { width, height } = this.view;
    this.box = tool === "rectangle" ? [width / 3, height / 3, width / 3, height / 3] : null;
    this.view.tool = tool ? this : null;
    byId("lasso").setAttribute("aria-pressed", String(this.lassoing));
    byId("rectangle").setAttribute("aria-pressed", String(Boolean(this.box)));
    this.view.canvas.classList.toggle("drawing", Boolean(tool));
    if (tool === "lasso") this.say("Draw around the rows with the pointer held down. Esc gives up.");
    if (this.box) this.sayBox();
    if (tool) this.view.canvas.focus();
    this.view.draw();
  }

  get drawing() {
    return this.line.length ? this.line : this.box ? rectangle(...this.box) : null;
  }

  down(x, y) {
    this.box = null;
    this.line = [x, y];
  }

  move(x, y) {
    if (!this.line.length) return;
    this.line.push(x, y);
    this.view.draw();
  }

  up(taken) {
    if (this.line.length) this.take(taken);
  }

  key(event) {
    if (event.key === "Escape") this.take(false);
    else if (event.key === "Enter" && this.box) this.take(true);
    else if (!this.box || !event.key.startsWith("Arrow")) return false;
    else {
      const [dx, dy] = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] }[event.key];
      const [x, y, width, height] = this.box;
      this.box = event.shiftKey ? [x, y, Math.max(LEAST, width + dx), Math.max(LEAST, height + dy)] : [x + dx, y + dy, width, height];
      this.sayBox();
      this.view.draw();
    }
    return true;
  }

  sayBox() {
    const count = this.inside(this.unit(this.drawing)).length;
    this.say(`A rectangle with ${count.toLocaleString("en")} ${count === 1 ? "row" : "rows"}. Arrows move it, Shift and an arrow change its size, Enter takes it, Esc gives up.`);
  }

  unit(line) {
    const found = [];
    for (let at = 0; at < line.length; at += 2) found.push(...this.view.onMap(line[at], line[at + 1]));
    return found;
  }

  take(wanted) {
    const polygon = wanted && this.drawing ? simplified(this.unit(this.drawing)) : null;
    this.use(null);
    this.say(null);
    if (polygon) this.show(polygon, this.only, true);
  }

  paint(context) {
    const line = this.drawing ?? this.polygon?.map((value, at) => (at % 2 ? this.view.top : this.view.left) + value * this.view.scale);
    if (!line) return;
    const [red, green, blue] = this.view.theme.ink;
    context.beginPath();
    for (let at = 0; at < line.length; at += 2) context.lineTo(line[at], line[at + 1]);
    context.closePath();
    context.fillStyle = `rgb(${red} ${green} ${blue} / 8%)`;
    context.fill();
    context.lineWidth = 1.5;
    context.setLineDash([6, 4]);
    context.strokeStyle = `rgb(${red} ${green} ${blue})`;
    context.stroke();
    context.setLineDash([]);
  }

  // What is inside

  inside(polygon) {
    return pointsInside(polygon, this.view.places, this.shows);
  }

  show(polygon, only, byHand = false) {
    this.polygon = polygon;
    this.only = Boolean(polygon && only);
    this.refresh();
    if (byHand) this.changed();
  }

  // Another colour, filter or class that is hidden: other points count.
  refresh() {
    const { view, polygon } = this;
    this.points = polygon ? this.inside(polygon) : [];
    view.only = null;
    if (this.only) {
      view.only = new Uint8Array(view.codes.length);
      for (const point of this.points) view.only[point] = 1;
    }
    view.draw();
    byId("area").hidden = !polygon;
    if (!polygon) return;
    const count = this.points.length;
    byId("area-title").textContent = count ? `${count.toLocaleString("en")} ${count === 1 ? "row" : "rows"} inside` : "No row is inside";
    byId("area-mix").textContent = count ? this.mix(this.points) : "";
    byId("area-only").setAttribute("aria-pressed", String(this.only));
    byId("area-rows").replaceChildren();
    this.more(false);
  }

  async more(byHand) {
    const list = byId("area-rows");
    const [start, points] = [list.children.length, this.points];
    byId("area-more").hidden = true;
    if (start >= points.length) return;
    const rows = await this.rowsOf(points.slice(start, start + LISTED));
    if (points !== this.points || list.children.length !== start) return;
    // A row that is gone keeps its place in the count.
    const known = new Map(rows.map((row) => [row.point, row]));
    const items = points.slice(start, start + LISTED).map((point) => make("li", {}, known.has(point) ? this.entry(known.get(point)) : make("span", { className: "muted" }, "gone")));
    list.append(...items);
    byId("area-more").hidden = list.children.length >= points.length;
    if (byHand) items[0].querySelector("a")?.focus();
  }
}
