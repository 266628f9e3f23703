// The scores of a run, its worst places, its outlines, and what changes while it goes on.

import {json, query} from "./api.js";
import {fill, find, make} from "./dom.js";
import {change, state} from "./state.js";

const EVERY = 5000;
const OUTLINES = {aoi: ["Area of interest", "#ffd000"], chips: ["Chips", "#3c96ff"]};

export class Run {
  constructor(view, info) {
    this.view = view;
    this.info = info;
    this.shapes = {};
    this.on = new Set(["aoi"]);
    find("run").hidden = false;
    find("boxing").hidden = true;
    this.told();
    setInterval(() => this.look(), EVERY);
  }

  told() {
    const other = this.info.run.beside;
    const rows = this.info.run.scores.map(one => make("tr", {},
      make("th", {scope: "row"}, one.name.replaceAll("_", " ")),
      make("td", {className: "number"}, one.value.toFixed(3)),
      make("td", {className: "number"}, one.low === null ? "" : `${one.low.toFixed(2)} to ${one.high.toFixed(2)}`),
      other && make("td", {className: "number"}, typeof one.other === "number" ? one.other.toFixed(3) : ""),
    ));
    const named = ["metric", "score", "95 % interval", ...(other ? [other] : [])];
    const head = make("tr", {}, ...named.map(name => make("th", {scope: "col"}, name)));
    fill(find("scores"), rows.length ? make("table", {}, head, ...rows) : make("p", {}, "Eval has not run yet."));
    this.worst();
  }

  async worst() {
    const list = find("worst");
    try {
      const {worst} = await json("worst");
      fill(list, ...worst.map(place => this.place(place)));
      if (!worst.length) fill(list, make("li", {}, "none"));
    } catch (error) {
      fill(list, make("li", {className: "error"}, error.message));
    }
  }

  place(place) {
    const button = make("button", {type: "button"}, `${place.scene}: ${place.text}`);
    button.addEventListener("click", () => {
      change({image: place.scene, at: place.at, layer: "error"});
      this.view.go(true);
    });
    return make("li", {}, button);
  }

  // Outlines over the map, and a switch for each.
  draw() {
    const image = this.view.image;
    fill(find("outlines"), ...image.overlays.map(name => this.toggle(name)));
    for (const name of Object.keys(OUTLINES)) {
      const wanted = this.on.has(name) && image.overlays.includes(name);
      const key = `${image.id} ${image.stamp}`;
      const before = this.shapes[name];
      if (before && (!wanted || before.key !== key || before.map !== this.view.map)) {
        before.shape?.remove();
        delete this.shapes[name];
      }
      if (wanted && !this.shapes[name]) this.add(name, key);
    }
  }

  toggle(name) {
    const box = make("input", {type: "checkbox", checked: this.on.has(name), id: `outline-${name}`});
    box.addEventListener("change", () => {
      if (box.checked) this.on.add(name);
      else this.on.delete(name);
      this.draw();
    });
    return make("label", {className: "tick"}, box, OUTLINES[name][0]);
  }

  async add(name, key) {
    const entry = this.shapes[name] = {key, map: this.view.map};
    try {
      const found = await json(`features?${query({image: state.image, layer: name})}`);
      if (this.shapes[name] !== entry) return;
      const style = {color: OUTLINES[name][1], weight: 1.5, fill: false, interactive: false};
      entry.shape = L.geoJSON(found, {style}).addTo(this.view.map);
    } catch { /* the map says what tiles can't be shown */ }
  }

  // Look whether the run has gone on.
  async look() {
    if (document.hidden) return;
    try {
      const {stamp} = await json("stamp");
      if (stamp === this.info.run.stamp) return;
      const info = await json("info");
      Object.assign(this.info, info);
      this.told();
      change({image: this.view.image ? state.image : info.images[0].id});
      window.dispatchEvent(new Event("renewed"));
    } catch { /* it is asked again */ }
  }
}
