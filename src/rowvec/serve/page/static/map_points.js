// The points of the map as the server sends them, and the colours that the theme has for them.

// A header as JSON behind its length, x and y as 16 bits each, a byte for each colour.
export function decoded(body) {
  const start = 4 + new DataView(body).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(body, 4, start - 4)));
  const places = new Uint16Array(body, start, 2 * header.points);
  const codes = new Uint8Array(body, start + places.byteLength, header.points);
  return { ...header, places, codes };
}

export function rgb(name) {
  const text = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  return [1, 3, 5].map((at) => Number.parseInt(text.slice(at, at + 2), 16));
}
