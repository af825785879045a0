// The rows behind the points of the map: asked for when somebody looks at them, the latest of them kept.

import { askJson } from "./common.js";

const KEPT = 500;

export class Rows {
  // `asked` makes the query of an address for the map that is shown.
  constructor(asked) {
    this.asked = asked;
    this.kept = new Map();
  }

  clear() {
    this.kept.clear();
  }

  has(point) {
    return this.kept.has(point);
  }

  keep(row) {
    this.kept.set(row.point, row);
    if (this.kept.size > KEPT) this.kept.delete(this.kept.keys().next().value);
    return row;
  }

  async of(point) {
    return this.kept.get(point) ?? this.keep(await askJson(`ui/map/row?${this.asked({ point })}`));
  }

  async withId(id) {
    return this.keep(await askJson(`ui/map/row?${this.asked({ id })}`));
  }

  async at(points) {
    const found = await askJson(`ui/map/rows?${this.asked({ points: points.join(",") })}`);
    return found.rows.map((row) => this.keep(row));
  }
}
