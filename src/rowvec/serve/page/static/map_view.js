// The picture: points drawn pixel by pixel into a canvas, which a hundred thousand of them need no WebGL for;
// moving, zooming, and which point is under the pointer.

const SIDE = 65535;
const CELLS = 128;
const CELL = (SIDE + 1) / CELLS;
const MARGIN = 24;
const CLOSEST = 400;
const REACH = 14;

// Opacity by pixel of a disc with that radius in pixels, as (dx, dy, opacity) triples.
function disc(radius, opacity) {
  const stamp = [];
  const reach = Math.ceil(radius);
  for (let dy = -reach; dy <= reach; dy += 1) {
    for (let dx = -reach; dx <= reach; dx += 1) {
      const cover = Math.min(1, Math.max(0, radius + 0.5 - Math.hypot(dx, dy)));
      if (cover > 0.05) stamp.push(dx, dy, Math.round(256 * cover * opacity));
    }
  }
  return Int32Array.from(stamp);
}

export class MapView {
  // `onPoint(point, event)` gets the point under the pointer, -1 for none; the event if it was touched, clicked or chosen
  // by a key. `onView()` is called when another part of the map is seen.
  constructor(canvas, onPoint, onView) {
    this.onView = onView;
    this.canvas = canvas;
    this.context = canvas.getContext("2d", { alpha: false });
    this.onPoint = onPoint;
    this.places = new Uint16Array(0);
    this.codes = new Uint8Array(0);
    this.palette = [];
    this.hits = [];
    this.current = -1;
    this.scale = 0;
    // Points that are drawn alone, as a byte for each; null for all.
    this.only = null;
    // What draws on top of the points, and what has pointer and keys instead of the map while it is at work.
    this.over = () => {};
    this.tool = null;
    this.pointers = new Map();
    new ResizeObserver(() => this.resize()).observe(canvas);
    this.listen();
  }

  // Colours by code, as [red, green, blue]; a code without one is not drawn.
  show(places, codes, palette, theme) {
    const replaced = places.length !== this.places.length;
    Object.assign(this, { places, codes, palette, theme });
    this.sortIntoCells();
    if (replaced) this.fit();
    this.draw();
  }

  highlight(points) {
    this.hits = points;
    this.draw();
  }

  mark(point) {
    if (point === this.current) return;
    this.current = point;
    this.draw();
  }

  visible(point) {
    return this.palette[this.codes[point]] !== undefined && (!this.only || this.only[point] === 1);
  }

  // A place on the canvas, in units of the map.
  onMap(x, y) {
    return [(x - this.left) / this.scale, (y - this.top) / this.scale];
  }

  // Points by cell of a grid, so that only those near the pointer are looked at.
  sortIntoCells() {
    const count = this.codes.length;
    const cellOf = (point) => Math.floor(this.places[2 * point + 1] / CELL) * CELLS + Math.floor(this.places[2 * point] / CELL);
    this.starts = new Uint32Array(CELLS * CELLS + 1);
    for (let point = 0; point < count; point += 1) this.starts[cellOf(point) + 1] += 1;
    for (let cell = 0; cell < CELLS * CELLS; cell += 1) this.starts[cell + 1] += this.starts[cell];
    this.ordered = new Uint32Array(count);
    const next = this.starts.slice();
    for (let point = 0; point < count; point += 1) this.ordered[next[cellOf(point)]++] = point;
  }

  resize() {
    this.ratio = Math.min(2, window.devicePixelRatio || 1);
    const { clientWidth, clientHeight } = this.canvas;
    if (!clientWidth || !clientHeight) return;
    [this.width, this.height] = [clientWidth, clientHeight];
    [this.canvas.width, this.canvas.height] = [clientWidth * this.ratio, clientHeight * this.ratio].map(Math.round);
    this.pixels = this.context.createImageData(this.canvas.width, this.canvas.height);
    this.packed = new Uint32Array(this.pixels.data.buffer);
    if (!this.touched) this.fit();
    this.draw();
  }

  // What is seen: the place of the map in the middle, and how close.
  where() {
    if (!this.touched) return null;
    return [(this.width / 2 - this.left) / this.scale, (this.height / 2 - this.top) / this.scale, this.scale / this.least];
  }

  look(x, y, closeness) {
    if (!this.least) return;
    this.scale = this.least * Math.min(CLOSEST, Math.max(0.5, closeness));
    this.left = this.width / 2 - x * this.scale;
    this.top = this.height / 2 - y * this.scale;
    this.touched = true;
    this.draw();
  }

  // All of the map, in the middle: what is drawn of it, not the square it lies in.
  fit() {
    if (!this.width) return;
    const bounds = [Infinity, Infinity, -Infinity, -Infinity];
    for (let at = 0; at < this.places.length; at += 2) {
      const [x, y] = [this.places[at], this.places[at + 1]];
      bounds[0] = Math.min(bounds[0], x);
      bounds[1] = Math.min(bounds[1], y);
      bounds[2] = Math.max(bounds[2], x);
      bounds[3] = Math.max(bounds[3], y);
    }
    if (bounds[0] > bounds[2]) return;
    const [wide, high] = [bounds[2] - bounds[0] || 1, bounds[3] - bounds[1] || 1];
    this.least = this.scale = Math.min((this.width - 2 * MARGIN) / wide, (this.height - 2 * MARGIN) / high);
    this.left = (this.width - this.scale * (bounds[0] + bounds[2])) / 2;
    this.top = (this.height - this.scale * (bounds[1] + bounds[3])) / 2;
    this.touched = false;
    this.draw();
    this.onView();
  }

  zoom(factor, x = this.width / 2, y = this.height / 2) {
    const scale = Math.min(CLOSEST * this.least, Math.max(this.least / 2, this.scale * factor));
    this.left = x - ((x - this.left) * scale) / this.scale;
    this.top = y - ((y - this.top) * scale) / this.scale;
    this.scale = scale;
    this.touched = true;
    this.draw();
    this.onView();
  }

  move(dx, dy) {
    this.left += dx;
    this.top += dy;
    this.touched = true;
    this.draw();
    this.onView();
  }

  // The nearest point in a direction from the current one, or from the middle; -1 for none.
  toward(dx, dy) {
    const [x, y] = this.current < 0 ? [this.width / 2, this.height / 2] : this.position(this.current);
    let [best, least] = [-1, Infinity];
    for (let point = 0; point < this.codes.length; point += 1) {
      if (point === this.current || !this.visible(point)) continue;
      const [px, py] = this.position(point);
      const along = (px - x) * dx + (py - y) * dy;
      const across = Math.abs((px - x) * dy) + Math.abs((py - y) * dx);
      if (along > 0 && along >= across && along + 2 * across < least) [best, least] = [point, along + 2 * across];
    }
    return best;
  }

  // Moves the map so far that a point is seen.
  reveal(point) {
    const [x, y] = this.position(point);
    const beyond = (value, size) => (value < MARGIN ? MARGIN - value : value > size - MARGIN ? size - MARGIN - value : 0);
    const [dx, dy] = [beyond(x, this.width), beyond(y, this.height)];
    if (dx || dy) this.move(dx, dy);
  }

  // Where a point is, in CSS pixels of the canvas.
  position(point) {
    return [this.left + this.scale * this.places[2 * point], this.top + this.scale * this.places[2 * point + 1]];
  }

  draw() {
    if (!this.scale || !this.pixels || this.waiting) return;
    this.waiting = requestAnimationFrame(() => {
      this.waiting = 0;
      this.paint();
    });
  }

  paint() {
    const [red, green, blue] = this.theme.ground;
    this.packed.fill(0xff000000 | (blue << 16) | (green << 8) | red);
    const closer = this.scale / this.least;
    const crowd = Math.min(1, Math.sqrt(20000 / Math.max(1, this.codes.length)));
    // A handful of points would be specks.
    const few = Math.min(2.5, Math.max(0, Math.sqrt(1000 / Math.max(1, this.codes.length)) - 1));
    const radius = this.ratio * Math.min(6, Math.max(0.8, (0.9 + 1.2 * crowd + few) * closer ** 0.35));
    const dim = this.hits.length > 0;
    this.stampAll(disc(radius, dim ? 0.16 : 0.35 + 0.4 * crowd));
    this.context.putImageData(this.pixels, 0, 0);
    this.context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    // The best hit last, on top of the others.
    for (let rank = this.hits.length - 1; rank >= 0; rank -= 1) {
      if (this.visible(this.hits[rank])) this.circle(this.hits[rank], rank ? 4.5 : 7, 1.5);
    }
    if (this.current >= 0) this.circle(this.current, 7, 2.5);
    this.over(this.context);
  }

  stampAll(stamp) {
    const { places, codes, palette, only, pixels: { data }, ratio } = this;
    const [width, height] = [this.canvas.width, this.canvas.height];
    const [scale, left, top] = [this.scale * ratio, this.left * ratio, this.top * ratio];
    const reach = stamp.reduce((most, value, at) => (at % 3 ? most : Math.max(most, value)), 0);
    for (let point = 0; point < codes.length; point += 1) {
      const colour = palette[codes[point]];
      if (colour === undefined || (only && !only[point])) continue;
      const x = Math.round(left + scale * places[2 * point]);
      const y = Math.round(top + scale * places[2 * point + 1]);
      if (x < reach || y < reach || x >= width - reach || y >= height - reach) continue;
      const [red, green, blue] = colour;
      for (let at = 0; at < stamp.length; at += 3) {
        const pixel = 4 * ((y + stamp[at + 1]) * width + x + stamp[at]);
        const opacity = stamp[at + 2];
        data[pixel] += ((red - data[pixel]) * opacity) >> 8;
        data[pixel + 1] += ((green - data[pixel + 1]) * opacity) >> 8;
        data[pixel + 2] += ((blue - data[pixel + 2]) * opacity) >> 8;
      }
    }
  }

  circle(point, radius, line) {
    const [x, y] = this.position(point);
    const colour = this.palette[this.codes[point]] ?? this.theme.ink;
    this.context.beginPath();
    this.context.arc(x, y, radius, 0, 2 * Math.PI);
    this.context.fillStyle = `rgb(${colour.join(" ")})`;
    this.context.fill();
    this.context.lineWidth = line;
    this.context.strokeStyle = `rgb(${this.theme.ink.join(" ")})`;
    this.context.stroke();
  }

  // The nearest point within reach of a place on the canvas, hits before others; -1 for none.
  at(x, y, reach = REACH) {
    const near = (point) => {
      const [px, py] = this.position(point);
      return Math.hypot(px - x, py - y);
    };
    const hit = this.hits.find((point) => this.visible(point) && near(point) < 8);
    if (hit !== undefined) return hit;
    const cell = (value) => Math.min(CELLS - 1, Math.max(0, Math.floor(value / CELL)));
    const [west, east] = [x - reach, x + reach].map((value) => cell((value - this.left) / this.scale));
    const [north, south] = [y - reach, y + reach].map((value) => cell((value - this.top) / this.scale));
    let [best, distance] = [-1, reach];
    for (let row = north; row <= south; row += 1) {
      for (let slot = this.starts[row * CELLS + west]; slot < this.starts[row * CELLS + east + 1]; slot += 1) {
        const point = this.ordered[slot];
        const away = near(point);
        if (away < distance && this.visible(point)) [best, distance] = [point, away];
      }
    }
    return best;
  }

  listen() {
    const { canvas } = this;
    const place = ({ clientX, clientY }) => {
      const box = canvas.getBoundingClientRect();
      return [clientX - box.left, clientY - box.top];
    };
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      if (this.tool) {
        this.tool.down(...place(event));
        return;
      }
      this.pointers.set(event.pointerId, place(event));
      this.travelled = this.pointers.size > 1 ? Infinity : 0;
    });
    canvas.addEventListener("pointermove", (event) => (this.tool ? this.tool.move(...place(event)) : this.onMove(event, place(event))));
    for (const name of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(name, (event) => {
        const known = this.pointers.delete(event.pointerId);
        if (this.tool) this.tool.up(name === "pointerup");
        if (known && name === "pointerup" && this.travelled < 6) this.onPoint(this.at(...place(event), event.pointerType === "touch" ? 24 : REACH), event);
      });
    }
    canvas.addEventListener("pointerleave", ({ pointerType }) => pointerType === "touch" || this.pointers.size || this.onPoint(-1, null));
    // Whoever scrolls past the map scrolls the page: the wheel is the map's once it was clicked, or with Ctrl.
    canvas.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey && document.activeElement !== canvas) return;
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0016)), ...place(event));
    }, { passive: false });
    canvas.addEventListener("keydown", (event) => this.onKey(event));
  }

  onMove(event, [x, y]) {
    const before = this.pointers.get(event.pointerId);
    if (before === undefined) {
      if (event.pointerType !== "touch") this.onPoint(this.at(x, y), null);
      return;
    }
    const other = [...this.pointers].find(([id]) => id !== event.pointerId)?.[1];
    if (other) {
      const spread = ([px, py]) => Math.hypot(px - other[0], py - other[1]) || 1;
      this.zoom(spread([x, y]) / spread(before), (x + other[0]) / 2, (y + other[1]) / 2);
      this.move((x - before[0]) / 2, (y - before[1]) / 2);
    } else {
      this.travelled += Math.hypot(x - before[0], y - before[1]);
      this.move(x - before[0], y - before[1]);
    }
    this.pointers.set(event.pointerId, [x, y]);
  }

  onKey(event) {
    const moves = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] };
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (this.tool?.key(event)) {
      event.preventDefault();
      event.stopPropagation();
      return;
    }
    if (event.key in moves && event.shiftKey) this.step(event, ...moves[event.key]);
    else if (event.key in moves) this.move(...moves[event.key]);
    else if (event.key === "+" || event.key === "=") this.zoom(1.4);
    else if (event.key === "-") this.zoom(1 / 1.4);
    else if (event.key === "0") this.fit();
    else return;
    event.preventDefault();
  }

  step(event, dx, dy) {
    const point = this.toward(-Math.sign(dx), -Math.sign(dy));
    if (point < 0) return;
    this.reveal(point);
    this.onPoint(point, event);
  }
}
