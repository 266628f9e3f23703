// The map: an image, a layer over it, and the swipe between them.

import {query} from "./api.js";
import {change, state} from "./state.js";
import {Shapes, Tiles, Whole, colorKey} from "./tiles.js";

const FURTHER = 3; // zooms beyond the image's own pixels
const PREVIEW = 2048;
const PATIENCE = 700; // milliseconds
const WAITING = "Drawing …";

const view = document.getElementById("map");
const swipe = document.getElementById("swipe");
const line = document.getElementById("line");
const hint = document.getElementById("hint");

export class MapView {
  constructor(info) {
    this.info = info;
    this.map = null;
    this.shown = {};
    swipe.addEventListener("input", () => change({swipe: Number(swipe.value)}));
  }

  get image() { return this.info.images.find(one => one.id === state.image); }

  get layer() { return this.named(state.layer); }

  named(name) { return this.info.layers.find(one => one.name === name); }

  // Make the map anew where the next image lies on other coordinates.
  open() {
    const placed = Boolean(this.image.bounds);
    if (!this.map || this.placed !== placed) {
      this.map?.remove();
      this.shown = {};
      this.placed = placed;
      this.map = L.map(view, {crs: placed ? L.CRS.EPSG3857 : L.CRS.Simple, minZoom: placed ? 0 : -8, zoomSnap: 1});
      this.map.attributionControl.setPrefix('<a href="https://leafletjs.com">Leaflet</a>');
      if (placed) L.control.scale({imperial: false}).addTo(this.map);
      for (const [name, order] of [["image", 210], ["beneath", 215], ["layer", 220]]) this.map.createPane(name).style.zIndex = order;
      this.map.on("moveend", () => this.moved());
      this.map.on("move zoom resize", () => this.clip());
      for (const [event, listen] of this.listeners || []) this.map.on(event, listen);
    }
    this.map.setMaxZoom(placed ? this.image.maxzoom + FURTHER : 6);
    if (!this.go()) this.fit();
  }

  on(event, listen) {
    (this.listeners ||= []).push([event, listen]);
    this.map?.on(event, listen);
  }

  get bounds() {
    const {bounds, shape} = this.image;
    if (!bounds) return L.latLngBounds([0, 0], [shape[0], shape[1]]);
    const [west, south, east, north] = bounds;
    return L.latLngBounds([south, west], [north, east]);
  }

  fit() { this.map.fitBounds(this.bounds, {animate: false}); }

  // Go where the address says; false if it says nothing.
  go(flying = false) {
    if (!state.at) return false;
    const [zoom, latitude, longitude] = state.at;
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    if (flying && !still) this.map.flyTo([latitude, longitude], zoom, {duration: 0.8});
    else this.map.setView([latitude, longitude], zoom, {animate: false});
    return true;
  }

  moved() {
    const {lat, lng} = this.map.getCenter();
    const digits = this.placed ? 7 : 1; // 1 cm
    change({at: [this.map.getZoom(), Number(lat.toFixed(digits)), Number(lng.toFixed(digits))]});
  }

  draw() {
    this.put("image", state.under ? {layer: "image"} : null);
    for (const [pane, layer] of [["beneath", this.named(state.beneath)], ["layer", this.layer]]) {
      this.put(pane, layer ? {layer: layer.name, class: layer.kind === "shares" ? state.band : null} : null);
    }
    this.filter();
    this.fade();
    this.clip();
  }

  put(pane, names) {
    const asked = names && query({image: state.image, ...names, v: this.image.stamp});
    const before = this.shown[pane];
    if (before?.asked === asked && before?.map === this.map) return;
    if (before) before.tiles.remove();
    delete this.shown[pane];
    if (!asked) return;
    const tiles = this.placed ? this.made(asked, pane) : this.whole(asked, pane);
    tiles.addTo(this.map);
    this.shown[pane] = {asked, tiles, map: this.map};
  }

  made(asked, pane) {
    const layer = this.named(state[pane]);
    if (this.info.run && layer?.kind === "features") {
      return new Shapes(`features?${asked}`, layer.classes || this.info.classes, {pane});
    }
    return this.tiles(asked, pane);
  }

  tiles(asked, pane) {
    const address = `tiles/WebMercatorQuad/{z}/{x}/{y}.png?${asked}`;
    const tiles = new Tiles(address, {pane, bounds: this.bounds, maxNativeZoom: this.image.maxzoom, maxZoom: 30});
    tiles.on("hint load", () => this.hint(tiles, pane));
    tiles.on("loading", () => setTimeout(() => {
      if (tiles.isLoading() && this.shown[pane]?.tiles === tiles && hint.hidden) this.say(WAITING);
    }, PATIENCE));
    tiles.on("tileerror", () => this.say("Some tiles can't be shown: the server gives none."));
    return tiles;
  }

  whole(asked, pane) {
    return new Whole(`preview.png?${asked}&max_size=${PREVIEW}`, this.bounds, {pane});
  }

  hint(tiles, pane) {
    if (pane !== "layer" || !tiles._tiles) return;
    const found = Object.values(tiles._tiles).find(each => each.current && each.el.hint);
    if (found) this.say(found.el.hint);
    else if (!tiles.isLoading()) this.say("");
  }

  say(text) {
    hint.textContent = text;
    hint.hidden = !text;
  }

  filter() {
    const drawn = ["classes", "features"].includes(this.layer?.kind);
    const classes = this.layer?.classes || this.info.classes;
    const off = drawn ? classes.filter(one => state.off.includes(one.id)) : [];
    const hidden = new Set(off.map(one => colorKey(one.color)));
    for (const pane of ["beneath", "layer"]) this.shown[pane]?.tiles.hide(hidden);
  }

  fade() {
    for (const pane of ["beneath", "layer"]) this.map.getPane(pane).style.opacity = state.opacity / 100;
  }

  clip() {
    const panes = ["beneath", "layer"].map(name => this.map.getPane(name));
    const on = state.swipe !== null && Boolean(this.layer);
    swipe.hidden = line.hidden = !on;
    if (!on) {
      for (const pane of panes) pane.style.clipPath = "";
      return;
    }
    swipe.value = state.swipe;
    const size = this.map.getSize();
    const thumb = 34;
    const x = thumb / 2 + (size.x - thumb) * state.swipe / 100;
    line.style.left = `${x}px`;
    for (const [pane, from, to] of [[panes[0], 0, x], [panes[1], x, size.x]]) {
      const first = this.map.containerPointToLayerPoint([from, 0]);
      const last = this.map.containerPointToLayerPoint([to, size.y]);
      const corners = [[first.x, first.y], [last.x, first.y], [last.x, last.y], [first.x, last.y]];
      pane.style.clipPath = `polygon(${corners.map(each => `${each[0]}px ${each[1]}px`).join(", ")})`;
    }
  }
}
