// The controls beside the map: what is shown, the legend, and what the model is.

import {fill, find, make, rounded} from "./dom.js";
import {change, state} from "./state.js";

export class Panel {
  constructor(info) {
    this.info = info;
    find("title").textContent = document.title = info.title;
    find("image").addEventListener("change", event => change({image: event.target.value, at: null}));
    find("layer").addEventListener("change", event => change({layer: event.target.value || "none", off: []}));
    find("beneath").addEventListener("change", event => change({beneath: event.target.value || null}));
    find("band").addEventListener("change", event => change({band: event.target.value}));
    find("opacity").addEventListener("input", event => change({opacity: Number(event.target.value)}));
    find("swiping").addEventListener("change", event => change({swipe: event.target.checked ? 50 : null}));
    find("under").addEventListener("change", event => change({under: event.target.checked}));
    find("toggle").addEventListener("click", () => this.toggle());
    this.about();
  }

  toggle() {
    const panel = find("panel");
    panel.hidden = !panel.hidden;
    find("toggle").setAttribute("aria-expanded", String(!panel.hidden));
    window.dispatchEvent(new Event("resize"));
  }

  // The layers of the image that is shown; a run has others for each scene.
  get layers() {
    const image = this.info.images.find(one => one.id === state.image);
    return this.info.layers.filter(one => one.name !== "image" && (!image?.layers || image.layers.includes(one.name)));
  }

  draw() {
    const option = (value, text, chosen) => make("option", {value, selected: value === chosen}, text);
    fill(find("image"), ...this.info.images.map(one => option(one.id, one.title || one.id, state.image)));
    const named = this.layers.map(one => option(one.name, one.title || one.name, state.layer));
    fill(find("layer"), ...named, option("none", "none", state.layer));
    const others = this.layers.map(one => option(one.name, one.title || one.name, state.beneath));
    fill(find("beneath"), option("", "only the image", state.beneath || ""), ...others);
    const layer = this.layers.find(one => one.name === state.layer);
    const several = layer?.kind === "shares" && layer.bands.length > 1;
    find("of-class").hidden = !several;
    fill(find("band"), ...(several ? layer.bands.map(one => option(one, one, state.band)) : []));
    find("opacity").value = state.opacity;
    find("swiping").checked = state.swipe !== null;
    find("under").checked = state.under;
    this.legend(layer);
  }

  legend(layer) {
    if (layer?.kind === "values") fill(find("legend"), ...ramp({...this.info.values, range: layer.range || this.info.values.range}));
    else if (layer?.kind === "shares") fill(find("legend"), ...share(this.color(layer)));
    else if (layer) fill(find("legend"), ...(layer.classes || this.info.classes).map((one, _, all) => this.entry(one, all)));
    else fill(find("legend"), make("p", {}, "No layer is shown."));
  }

  color(layer) {
    const number = layer.bands.indexOf(state.band);
    return layer.name === "scores" ? this.info.classes[Math.max(0, number)].color : "#d61478";
  }

  entry(one, classes) {
    const box = make("input", {type: "checkbox", checked: !state.off.includes(one.id), id: `class-${one.id}`});
    box.addEventListener("change", () => {
      const off = new Set(state.off);
      const alike = classes.filter(other => other.color.toLowerCase() === one.color.toLowerCase()); // tiles hold colours
      for (const {id} of alike) if (box.checked) off.delete(id); else off.add(id);
      change({off: [...off].sort((a, b) => a - b)});
    });
    return make("label", {className: "tick"}, box, swatch(one.color), one.name);
  }

  about() {
    const {task, gsd, bands, metrics, origin} = this.info;
    const overall = Object.entries(metrics?.eval?.overall || {}).slice(0, 3);
    const commit = origin?.git?.commit;
    const rows = [
      ["Task", task && task.replaceAll("_", " ")],
      ["Pixels", gsd && `${rounded(gsd)} m`],
      ["Bands", bands && bands.map(one => one.name).join(", ")],
      ...overall.map(([name, value]) => [name.replaceAll("_", " "), value === null ? "–" : rounded(value)]),
      ["Commit", commit && commit.slice(0, 10)],
    ];
    const told = rows.filter(([, text]) => text);
    fill(find("about"), ...told.flatMap(([name, text]) => [make("dt", {}, name), make("dd", {}, text)]));
    find("names").placeholder = (bands || []).map(one => one.name).join(", ");
  }
}

export function swatch(color) {
  const element = make("span", {className: "swatch"});
  element.style.background = color;
  return element;
}

function ramp({range, colors}) {
  const bar = make("div", {className: "ramp", role: "img", "aria-label": "Colours from low to high"});
  bar.style.background = `linear-gradient(to right, ${colors.join(", ")})`;
  const ends = range.map(value => make("span", {}, rounded(value)));
  return [bar, make("div", {className: "ends"}, ...ends)];
}

const share = color => ramp({range: [0, 1], colors: ["transparent", color]});
