// An area of the map as a polygon in its own units, [x, y, x, y, …]: what is inside, and how it stands in an address.

export const MOST_CORNERS = 40;
const SIDE = 65535;

// By the even-odd rule: how often a ray to the right crosses an edge.
export function contains(polygon, x, y) {
  let within = false;
  for (let at = 0, before = polygon.length - 2; at < polygon.length; before = at, at += 2) {
    const [ax, ay, bx, by] = [polygon[at], polygon[at + 1], polygon[before], polygon[before + 1]];
    if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) within = !within;
  }
  return within;
}

// The points inside, in the order of the map. `shows(point)` is asked of those alone that are in the box around it.
export function pointsInside(polygon, places, shows) {
  const xs = polygon.filter((_, at) => at % 2 === 0);
  const ys = polygon.filter((_, at) => at % 2 === 1);
  const [west, east, north, south] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const found = [];
  for (let point = 0; 2 * point < places.length; point += 1) {
    const [x, y] = [places[2 * point], places[2 * point + 1]];
    if (x >= west && x <= east && y >= north && y <= south && contains(polygon, x, y) && shows(point)) found.push(point);
  }
  return found;
}

// As few corners as an address has room for: those that say least of the shape go first (Visvalingam and Whyatt,
// "Line generalisation by repeated elimination of points", 1993).
export function simplified(polygon, most = MOST_CORNERS) {
  const corners = [];
  for (let at = 0; at < polygon.length; at += 2) {
    const corner = [Math.round(polygon[at]), Math.round(polygon[at + 1])].map((value) => Math.min(SIDE, Math.max(0, value)));
    const last = corners.at(-1);
    if (!last || last[0] !== corner[0] || last[1] !== corner[1]) corners.push(corner);
  }
  const says = (at) => {
    const [[ax, ay], [bx, by], [cx, cy]] = [-1, 0, 1].map((step) => corners[(at + step + corners.length) % corners.length]);
    return Math.abs((bx - ax) * (cy - ay) - (cx - ax) * (by - ay));
  };
  while (corners.length > Math.max(3, most)) {
    let least = 0;
    for (let at = 1; at < corners.length; at += 1) if (says(at) < says(least)) least = at;
    corners.splice(least, 1);
  }
  return corners.length < 3 ? null : corners.flat();
}

export const rectangle = (x, y, width, height) => [x, y, x + width, y, x + width, y + height, x, y + height];

export const written = (polygon) => polygon.join(",");

// Null where an address holds no area that can be.
export function read(text) {
  const numbers = text.split(",").map(Number);
  const right = numbers.length >= 6 && numbers.length % 2 === 0 && numbers.length <= 2 * MOST_CORNERS
    && numbers.every((value) => Number.isInteger(value) && value >= 0 && value <= SIDE);
  return right ? numbers : null;
}

// Which of these boxes have room, each in its turn: [left, top, width, height] or null for one that is out of sight.
export function placed(boxes, gap = 4) {
  const taken = [];
  return boxes.map((box) => {
    if (!box) return false;
    const [left, top, width, height] = box;
    const free = taken.every(([l, t, w, h]) => left >= l + w + gap || l >= left + width + gap || top >= t + h + gap || t >= top + height + gap);
    if (free) taken.push(box);
    return free;
  });
}
