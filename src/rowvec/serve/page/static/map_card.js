// The card of a point: what its row holds, beside the point.

import { make } from "./common.js";
import { headingOf, shown, titleColumn } from "./hits.js";

const VALUES = 6;
const GAP = 14;
const EDGE = 8;

export function content(row, pipeline, links) {
  const title = titleColumn(pipeline.columns, pipeline.card);
  const details = Object.entries(row.metadata).filter(([name, value]) => name !== title && shown(value) !== null);
  return [make("strong", {}, headingOf(row, pipeline)),
    make("dl", {}, ...details.slice(0, VALUES).map(([name, value]) =>
      make("div", {}, make("dt", {}, name), make("dd", {}, shown(value))))),
    make("a", { href: links.row }, "Open the row"), " · ", make("a", { href: links.similar }, "Similar rows")];
}

// Beside the point where there is room, else above or below it: the point stays in sight.
export function place(card, view, x, y) {
  const [wide, high] = [card.offsetWidth, card.offsetHeight];
  const within = (value, size, whole) => Math.min(Math.max(EDGE, value), Math.max(EDGE, whole - size - EDGE));
  const side = x > view.width / 2 ? x - wide - GAP : x + GAP;
  const beside = side >= EDGE && side + wide <= view.width - EDGE;
  const left = beside ? side : within(x - wide / 2, wide, view.width);
  const top = beside ? within(y - high / 2, high, view.height) : y > view.height / 2 ? Math.max(EDGE, y - high - GAP) : y + GAP;
  card.style.left = `${left}px`;
  card.style.top = `${top}px`;
}
