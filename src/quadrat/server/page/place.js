// What is predicted at a place that is clicked on.

import {json, query} from "./api.js";
import {fill, find, make, percent, rounded} from "./dom.js";
import {swatch} from "./panel.js";
import {state} from "./state.js";

export class Place {
  constructor(view, info) {
    this.view = view;
    this.info = info;
    view.on("click", event => { if (!view.drawing) this.ask(event.latlng); });
    find("centre").addEventListener("click", () => this.ask(this.view.map.getCenter()));
  }

  async ask(at) {
    if (!this.view.placed) {
      fill(find("place"), make("p", {}, "The image has no place on Earth to ask for."));
      return;
    }
    const number = this.asked = (this.asked || 0) + 1;
    this.mark(at);
    fill(find("place"), make("p", {}, "Asking …"));
    let content;
    try {
      const address = `point/${at.lng.toFixed(9)},${at.lat.toFixed(9)}?${query({image: state.image})}`;
      content = told(await json(address), this.info.classes);
    } catch (error) {
      content = [make("p", {className: "error"}, error.message)];
    }
    if (number === this.asked) fill(find("place"), ...content);
  }

  mark(at) {
    this.marker?.remove();
    const look = {radius: 7, color: "#000", weight: 3, fill: false, interactive: false, bubblingMouseEvents: false};
    this.marker = L.layerGroup([L.circleMarker(at, look), L.circleMarker(at, {...look, color: "#fff", weight: 1.5})]);
    this.marker.addTo(this.view.map);
  }
}

function told(found, classes) {
  const [lon, lat] = found.coordinates;
  const where = make("p", {}, `${lat.toFixed(5)}°, ${lon.toFixed(5)}°, row ${found.pixel[0]}, column ${found.pixel[1]}`);
  const parts = [];
  if (found.class) {
    parts.push(make("strong", {}, swatch(found.color || "#888"), ` ${found.class}`));
  } else if ("class" in found && !found.features?.length) {
    parts.push(make("strong", {}, "Nothing is predicted here."));
  }
  for (const [name, value] of [["value", found.value], ["uncertainty", found.uncertainty]]) {
    if (typeof value === "number") parts.push(make("p", {}, `${name} ${rounded(value)}`));
  }
  for (const name of ["label", "baseline"]) if (found[name]) parts.push(make("p", {}, `${name}: ${found[name]}`));
  if (found.scores) parts.push(scores(found.scores, classes));
  for (const one of found.features || []) {
    parts.push(make("p", {}, swatch(one.color || "#888"), ` ${one.class}`, one.score ? `, score ${rounded(one.score)}` : ""));
  }
  return [where, ...parts];
}

function scores(found, classes) {
  const order = Object.entries(found).sort((a, b) => b[1] - a[1]);
  const rows = order.map(([name, value]) => {
    const bar = make("span", {});
    bar.style.width = `${100 * value}%`;
    bar.style.background = classes.find(one => one.name === name)?.color || "";
    const cells = [make("td", {className: "number"}, percent(value)), make("td", {className: "bar"}, bar)];
    return make("tr", {}, make("th", {scope: "row"}, name), ...cells);
  });
  return make("table", {"aria-label": "Scores"}, ...rows);
}
