// The page: a map of what a bundle predicts.

import {json} from "./api.js";
import {Box} from "./box.js";
import {find} from "./dom.js";
import {Jobs} from "./jobs.js";
import {MapView} from "./map.js";
import {Panel} from "./panel.js";
import {Place} from "./place.js";
import {Run} from "./run.js";
import {change, onChange, read, state} from "./state.js";

// What of a state there is: an old link may name what is served no more.
function existing(asked, info) {
  const image = info.images.find(one => one.id === asked.image) || info.images[0];
  const layers = info.layers.filter(one => one.name !== "image" && (!image.layers || image.layers.includes(one.name)));
  const named = layers.find(one => one.name === asked.layer);
  const layer = asked.layer === "none" ? null : named || layers[0] || null;
  const beneath = layers.find(one => one.name === asked.beneath)?.name || null;
  const band = layer?.bands?.includes(asked.band) ? asked.band : layer?.kind === "shares" ? layer.bands[0] : null;
  return {...asked, image: image.id, layer: layer ? layer.name : "none", beneath, band};
}

async function start() {
  const [info, legend] = await Promise.all([json("info"), json("legend")]);
  Object.assign(info, {values: legend.values});
  const panel = new Panel(info);
  find("sending").hidden = !info.formats;
  if (info.formats) new Jobs(info);
  if (!info.images.length) {
    find("hint").textContent = "No image is served: send one of your own.";
    find("hint").hidden = false;
    for (const id of ["swipe", "line", "boxing"]) find(id).hidden = true;
    panel.draw();
    return;
  }
  const view = new MapView(info);
  Object.assign(state, existing(read(), info));
  view.open();
  new Place(view, info);
  new Box(view, info);
  const run = info.run ? new Run(view, info) : null;
  const draw = () => {
    panel.draw();
    view.draw();
    run?.draw();
  };
  draw();
  onChange(changed => {
    if (changed.size === 1 && changed.has("at")) return;
    Object.assign(state, existing(state, info));
    if (changed.has("image")) view.open();
    draw();
  });
  window.addEventListener("renewed", () => {
    Object.assign(state, existing(state, info));
    draw();
  });
  window.addEventListener("hashchange", () => {
    const asked = existing(read(), info);
    change(asked);
    view.go();
  });
  window.addEventListener("resize", () => view.map.invalidateSize());
}

start().catch(error => {
  find("title").textContent = "quadrat";
  find("hint").textContent = `The server does not answer: ${error.message}`;
  find("hint").hidden = false;
});
