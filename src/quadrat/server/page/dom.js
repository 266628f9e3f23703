// Elements, made of text only: names of classes and files come from elsewhere.

export const find = id => document.getElementById(id);

export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name in element && name !== "list") element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter(child => child !== null && child !== undefined));
  return element;
}

export function fill(parent, ...children) { parent.replaceChildren(...children.filter(Boolean)); }

export const percent = value => `${Math.round(1000 * value) / 10} %`;

export const rounded = value => typeof value === "number" ? Number(value.toPrecision(4)).toString() : String(value);
