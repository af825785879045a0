// The names of the clusters on the map: those of the largest first, as many as have room. A click goes nearer.

import { make } from "./common.js";
import { placed } from "./area.js";

const ABOVE = 4;
const MARGIN = 4;
const NEARER = 2.5;

export class Names {
  constructor(list, view) {
    this.list = list;
    this.view = view;
    this.clusters = [];
  }

  show(clusters) {
    this.clusters = clusters.map(({ x, y, rows, words }) => {
      const button = make("button", { type: "button", title: `${rows.toLocaleString("en")} rows` }, words.join(", "));
      button.addEventListener("click", () => this.nearer(x, y));
      return { x, y, button, item: make("li", {}, button) };
    });
    this.list.replaceChildren(...this.clusters.map(({ item }) => item));
    this.place();
  }

  nearer(x, y) {
    this.view.look(x, y, Math.max(2, NEARER * (this.view.where()?.[2] ?? 1)));
    this.view.onView();
  }

  // `taken` are places on the canvas where something else stands, the tools at the right edge first.
  place(taken = []) {
    if (this.list.hidden || !this.view.scale) return;
    const { view } = this;
    const right = Math.min(view.width, ...taken.slice(0, 1).map(([left]) => left));
    const boxes = this.clusters.map(({ x, y, button }) => {
      const [width, height] = [button.offsetWidth, button.offsetHeight];
      const [middle, edge] = [view.left + x * view.scale, view.top + y * view.scale];
      if (middle < 0 || middle > view.width || edge < 0 || edge > view.height) return null;
      const left = Math.max(MARGIN, Math.min(middle - width / 2, right - width - MARGIN));
      return [left, Math.max(MARGIN, edge - ABOVE - height), width, height];
    });
    const room = placed([...taken, ...boxes]).slice(taken.length);
    for (const [at, { item }] of this.clusters.entries()) {
      item.hidden = !room[at];
      if (room[at]) item.style.transform = `translate(${Math.round(boxes[at][0])}px, ${Math.round(boxes[at][1])}px)`;
    }
  }
}
