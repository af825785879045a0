// The colours of the map, and what the page says of it, from the header that the server sends.

export const [LEFT_OUT, OTHER, NONE, GONE] = [252, 253, 254, 255];
const MIXED = 4;
const SHADES = 7;

const some = (count) => count.toLocaleString("en");

// The variable of the style sheet for a colour code. Steps are spread over all shades, however few there are.
export function variable({ column, by, kind, legend }, code) {
  if (code === OTHER || code === NONE) return !column && !by ? "--c0" : code === OTHER ? "--other" : "--none";
  if (kind !== "steps") return `--c${code}`;
  return `--s${legend.length > 1 ? Math.round(((SHADES - 1) * code) / (legend.length - 1)) : code}`;
}

// Code, label and rows of each entry of the legend.
export function entries({ legend, other, none, nothing, column, by }) {
  const listed = legend.map(({ label, rows }, code) => [code, label, rows]);
  if (other) listed.push([OTHER, "other", other]);
  if (none && (column || by)) listed.push([NONE, nothing, none]);
  return listed;
}

// What points of these codes are, the labels with most of them first.
export function mix(map, codes) {
  if (!map.column && !map.by) return "";
  const counts = new Map();
  for (const code of codes) counts.set(code, (counts.get(code) ?? 0) + 1);
  const label = (code) => (code === OTHER ? "other" : code === NONE ? map.nothing : map.legend[code].label);
  const most = [...counts].sort(([a, more], [b, fewer]) => fewer - more || a - b).slice(0, MIXED);
  const share = (count) => (count < codes.length ? ` (${Math.min(99, Math.max(1, Math.round((100 * count) / codes.length)))} %)` : "");
  const told = most.map(([code, count]) => `${label(code)}${share(count)}`).join(", ");
  return `${map.by ? map.aspects[map.by] : map.column}: ${told}${counts.size > MIXED ? " …" : ""}`;
}

export function stale(map, pipeline) {
  const rowsAre = (count, one, more) => `${some(count)} ${count === 1 ? `row ${one}` : `rows ${more}`}`;
  const parts = [
    map.other_model && "these positions come from another model's vectors",
    map.missing && `${rowsAre(map.missing, "is", "are")} not on the map`,
    map.changed && `${rowsAre(map.changed, "has", "have")} a new vector since it was drawn`,
    map.gone && `${rowsAre(map.gone, "is", "are")} gone`,
  ].filter(Boolean).join(", ");
  return parts && `${parts[0].toUpperCase()}${parts.slice(1)}. rowvec map -p ${pipeline} draws it again.`;
}

export function summary({ points, rows, gone, left_out: left, made_at: made }) {
  const drawn = new Date(made).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" });
  const [all, shown] = [points - gone, points - gone - left];
  const chosen = rows > points ? `, chosen by chance among ${some(rows)}` : "";
  return left ? `${some(shown)} of ${some(all)} rows match${chosen}, drawn ${drawn}.` : `${some(all)} ${all === 1 ? "row" : "rows"}${chosen}, drawn ${drawn}.`;
}

export function lit({ all, absent }) {
  if (!all) return "Nothing found. Say it in other words.";
  const first = all === 1 ? "The nearest row is lit" : `The ${some(all)} nearest rows are lit`;
  return `${first}${absent ? `; ${some(absent)} of them ${absent === 1 ? "is" : "are"} not on the map` : ""}.`;
}
