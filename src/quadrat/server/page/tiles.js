// Tiles of the server on canvases, on which classes can be hidden without asking again.

import {get} from "./api.js";

const HINT = "X-Quadrat-Hint";

const key = (red, green, blue) => red << 16 | green << 8 | blue;

export const colorKey = color => Number.parseInt(color.slice(1), 16);

// Hide the colours of a set (numbers) on a canvas that remembers its picture.
function paint(canvas, hidden) {
  if (!canvas.raw) return;
  const context = canvas.getContext("2d");
  if (!hidden.size) {
    context.putImageData(canvas.raw, 0, 0);
    return;
  }
  const shown = new ImageData(new Uint8ClampedArray(canvas.raw.data), canvas.raw.width);
  const data = shown.data;
  for (let i = 0; i < data.length; i += 4) if (hidden.has(key(data[i], data[i + 1], data[i + 2]))) data[i + 3] = 0;
  context.putImageData(shown, 0, 0);
}

async function load(canvas, address, signal) {
  const response = await get(address, {signal});
  if (response.status === 204) return null;
  if (!response.ok) throw new Error(`the server answers ${response.status}`);
  const plain = {colorSpaceConversion: "none"};
  const bitmap = await createImageBitmap(await response.blob(), plain);
  canvas.width = bitmap.width;
  canvas.height = bitmap.height;
  const context = canvas.getContext("2d", {willReadFrequently: true});
  context.drawImage(bitmap, 0, 0);
  canvas.raw = context.getImageData(0, 0, canvas.width, canvas.height);
  return response.headers.get(HINT);
}

export const Tiles = L.GridLayer.extend({
  initialize(address, options) {
    this.address = address;
    this.hidden = new Set();
    L.setOptions(this, options);
    this.on("tileunload", event => event.tile.asking?.abort());
  },

  createTile(coords, done) {
    const tile = L.DomUtil.create("canvas", "leaflet-tile");
    tile.asking = new AbortController();
    const address = this.address.replace("{z}", coords.z).replace("{x}", coords.x).replace("{y}", coords.y);
    load(tile, address, tile.asking.signal).then(hint => {
      tile.hint = hint;
      paint(tile, this.hidden);
      done(null, tile);
      this.fire("hint", {hint});
    }, error => done(error, tile));
    return tile;
  },

  hide(colors) {
    this.hidden = colors;
    for (const each of Object.values(this._tiles)) paint(each.el, colors);
  },
});

// Objects of a run, in the colours of their classes.
export const Shapes = L.GeoJSON.extend({
  initialize(address, classes, options) {
    const colors = new Map(classes.map(one => [one.name, one.color]));
    const of = feature => colors.get(feature.properties.kind) || colors.get(feature.properties.class) || "#888888";
    this.hidden = new Set();
    const style = feature => {
      const color = of(feature);
      const shown = this.hidden.has(colorKey(color)) ? 0 : 1;
      return {color, weight: 2, opacity: shown, fillOpacity: 0.25 * shown, interactive: false};
    };
    L.GeoJSON.prototype.initialize.call(this, null, {...options, style});
    get(address).then(response => response.ok ? response.json() : null).then(found => {
      if (found) this.addData(found);
      this.fire("load");
    }, () => this.fire("tileerror"));
  },

  hide(colors) {
    this.hidden = colors;
    this.setStyle(this.options.style);
  },
});

// A whole picture, for images without a place on Earth.
export const Whole = L.ImageOverlay.extend({
  hide() {},
});
