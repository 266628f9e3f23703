// What is shown, which the address after # keeps: a link to it shows the same.

const START = {image: null, layer: null, beneath: null, band: null, off: [], opacity: 80, swipe: null, under: true, at: null};

export const state = {...START};
const listeners = [];

export function onChange(listen) { listeners.push(listen); }

export function change(values) {
  const before = {...state};
  Object.assign(state, values);
  const changed = Object.keys(values).filter(name => JSON.stringify(before[name]) !== JSON.stringify(state[name]));
  if (!changed.length) return;
  history.replaceState(null, "", `#${written()}`);
  for (const listen of listeners) listen(new Set(changed));
}

function written() {
  const names = new URLSearchParams();
  for (const name of ["image", "layer", "beneath", "band"]) if (state[name]) names.set(name, state[name]);
  if (state.off.length) names.set("off", state.off.join(","));
  if (state.opacity !== START.opacity) names.set("opacity", state.opacity);
  if (state.swipe !== null) names.set("swipe", state.swipe);
  if (!state.under) names.set("under", "0");
  if (state.at) names.set("at", state.at.join("/"));
  return names.toString();
}

const number = (text, low, high) => {
  const value = Number(text);
  return text !== null && text !== "" && Number.isFinite(value) ? Math.min(high, Math.max(low, value)) : null;
};

// The state that the address says; what it doesn't say is as at the start.
export function read() {
  const names = new URLSearchParams(location.hash.slice(1));
  const at = (names.get("at") || "").split("/").map(Number);
  return {
    ...START,
    image: names.get("image"),
    layer: names.get("layer"),
    beneath: names.get("beneath"),
    band: names.get("band"),
    off: (names.get("off") || "").split(",").filter(Boolean).map(Number).filter(Number.isInteger),
    opacity: number(names.get("opacity"), 0, 100) ?? START.opacity,
    swipe: number(names.get("swipe"), 0, 100),
    under: names.get("under") !== "0",
    at: at.length === 3 && at.every(Number.isFinite) ? at : null,
  };
}
