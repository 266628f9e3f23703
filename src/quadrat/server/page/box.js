// A box on the map, and what is predicted in it as a file.

import {query, save} from "./api.js";
import {fill, find, make} from "./dom.js";
import {state} from "./state.js";

const MOST = 2048; // px of a side of a file

export class Box {
  constructor(view, info) {
    this.view = view;
    this.info = info;
    this.bounds = null;
    find("draw").addEventListener("click", () => this.arm(!view.drawing));
    find("shown").addEventListener("click", () => this.take(view.map.getBounds()));
    const area = find("map");
    area.addEventListener("pointerdown", event => this.begin(event), true);
    area.addEventListener("pointermove", event => this.stretch(event), true);
    area.addEventListener("pointerup", event => this.end(event), true);
    document.addEventListener("keydown", event => { if (event.key === "Escape") this.arm(false); });
  }

  arm(on) {
    this.view.drawing = on;
    find("draw").setAttribute("aria-pressed", String(on));
    find("map").classList.toggle("drawing", on);
    const drag = this.view.map.dragging;
    if (on) drag.disable();
    else drag.enable();
    if (on) find("box").textContent = "Drag over the map. Escape ends it.";
  }

  begin(event) {
    if (!this.view.drawing || event.target.closest(".leaflet-control")) return;
    event.preventDefault();
    event.stopPropagation();
    this.first = this.view.map.mouseEventToLatLng(event);
  }

  stretch(event) {
    if (!this.first) return;
    event.stopPropagation();
    this.outline(L.latLngBounds(this.first, this.view.map.mouseEventToLatLng(event)));
  }

  end(event) {
    if (!this.first) return;
    event.stopPropagation();
    const drawn = L.latLngBounds(this.first, this.view.map.mouseEventToLatLng(event));
    this.first = null;
    setTimeout(() => this.arm(false), 0); // after the click that ends the box
    this.take(drawn);
  }

  outline(bounds) {
    this.rectangle?.remove();
    const look = {color: "#ffd000", weight: 2, fill: false, interactive: false};
    this.rectangle = L.rectangle(bounds, look).addTo(this.view.map);
  }

  take(bounds) {
    if (!this.view.placed) {
      find("box").textContent = "The image has no place on Earth: send it as a file.";
      return;
    }
    const within = [
      Math.max(bounds.getWest(), this.view.bounds.getWest()), Math.max(bounds.getSouth(), this.view.bounds.getSouth()),
      Math.min(bounds.getEast(), this.view.bounds.getEast()), Math.min(bounds.getNorth(), this.view.bounds.getNorth()),
    ];
    if (!(within[0] < within[2] && within[1] < within[3])) {
      find("box").textContent = "The box is not on the image.";
      fill(find("files"));
      return;
    }
    this.bounds = within.map(value => Number(value.toFixed(9)));
    this.outline(L.latLngBounds([within[1], within[0]], [within[3], within[2]]));
    const [west, south, east, north] = this.bounds.map(value => value.toFixed(4));
    find("box").textContent = `${west}° to ${east}° east, ${south}° to ${north}° north`;
    fill(find("files"), ...this.forms().map(form => this.button(...form)));
  }

  forms() {
    const layer = this.view.layer || this.info.layers[1];
    const names = {image: state.image, layer: layer.name, class: layer.kind === "shares" ? state.band : null};
    const box = `bbox/${this.bounds.join(",")}`;
    const found = ["tif", "png"].map(ending => [
      ending === "tif" ? "GeoTIFF" : "Picture", `${box}.${ending}?${query({...names, max_size: MOST})}`,
      `${state.image}-${layer.name}.${ending}`,
    ]);
    if (layer.kind === "features") {
      const asked = query({image: state.image, bbox: this.bounds.join(","), layer: this.info.run ? layer.name : null});
      found.push(["GeoJSON", `features?${asked}`, `${state.image}-${layer.name}.geojson`]);
    }
    return found;
  }

  button(text, address, name) {
    const button = make("button", {type: "button"}, text);
    button.addEventListener("click", async () => {
      button.disabled = true;
      find("box").textContent = "Predicting …";
      try {
        await save(address, name);
        find("box").textContent = `${name} is saved.`;
      } catch (error) {
        find("box").textContent = error.message;
      }
      button.disabled = false;
    });
    return button;
  }
}
