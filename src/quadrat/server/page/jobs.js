// Images that are sent, as jobs: their progress, their results.

import {json, query, told} from "./api.js";
import {fill, find, make} from "./dom.js";

const KEPT = "quadrat-jobs"; // names of this browser's jobs
const EVERY = 1000;
const NAMES = {zip: "all layers (zip)", tif: "GeoTIFF", geojson: "GeoJSON", parquet: "GeoParquet", gpkg: "GeoPackage"};
const ENDED = ["successful", "failed", "dismissed"];

export class Jobs {
  constructor(info) {
    this.items = new Map();
    fill(find("form"), ...(info.formats || []).map(form => make("option", {value: form}, NAMES[form] || form)));
    find("upload").addEventListener("submit", event => {
      event.preventDefault();
      this.send(find("file").files[0]);
    });
    for (const [id, name] of this.kept()) this.add(id, name);
  }

  kept() {
    try {
      return JSON.parse(localStorage.getItem(KEPT)) || [];
    } catch {
      return [];
    }
  }

  keep() {
    try {
      localStorage.setItem(KEPT, JSON.stringify([...this.items].map(([id, item]) => [id, item.name])));
    } catch { /* a browser may keep nothing */ }
  }

  send(file) {
    const bands = find("names").value.trim();
    const asked = query({f: find("form").value, bands, unchecked: find("unchecked").checked ? "true" : null});
    const request = new XMLHttpRequest();
    const form = new FormData();
    form.append("file", file);
    request.open("POST", `predict?${asked}`);
    request.setRequestHeader("Prefer", "respond-async");
    request.upload.addEventListener("progress", event => {
      if (event.lengthComputable) this.say(`Sending: ${Math.round(100 * event.loaded / event.total)} %`);
    });
    request.addEventListener("load", () => this.answered(request, file.name));
    request.addEventListener("error", () => this.say("The server can't be reached.", true));
    this.say("Sending …");
    request.send(form);
  }

  answered(request, name) {
    let content = {};
    try {
      content = JSON.parse(request.responseText);
    } catch { /* an answer without a reason */ }
    if (request.status !== 201) {
      this.say(content.detail ? told(content.detail) : `the server answers ${request.status}`, true);
      return;
    }
    this.say(`${name} is sent.`);
    this.add(content.jobID, name);
    this.keep();
  }

  say(text, wrong = false) {
    find("sent").textContent = text;
    find("sent").classList.toggle("error", wrong);
  }

  add(id, name) {
    const progress = make("progress", {max: 100, value: 0, "aria-label": `Progress of ${name}`});
    const status = make("p", {role: "status"}, "waits");
    const buttons = make("div", {className: "row"});
    const warnings = make("div");
    const element = make("li", {}, make("strong", {}, name), progress, status, warnings, buttons);
    find("jobs").prepend(element);
    this.items.set(id, {name, element, progress, status, warnings, buttons});
    this.follow(id);
  }

  async follow(id) {
    const item = this.items.get(id);
    if (!item) return;
    let job;
    try {
      job = await json(`jobs/${id}`);
    } catch {
      this.drop(id); // the server has forgotten it
      return;
    }
    this.show(id, item, job);
    if (!ENDED.includes(job.status)) setTimeout(() => this.follow(id), EVERY);
  }

  show(id, item, job) {
    const words = {accepted: "waits", running: `${job.progress} % predicted`, successful: "done", dismissed: "cancelled"};
    item.progress.value = job.status === "successful" ? 100 : job.progress;
    item.progress.hidden = job.status === "failed";
    item.status.textContent = words[job.status] || job.message || "failed";
    item.status.classList.toggle("error", job.status === "failed");
    if (job.warnings?.length) fill(item.warnings, ...job.warnings.map(line => make("p", {}, `Warning: ${line}`)));
    const forget = make("button", {type: "button"}, ENDED.includes(job.status) ? "Remove" : "Cancel");
    forget.addEventListener("click", () => this.cancel(id));
    const result = job.status === "successful" && make("a", {className: "button", href: `jobs/${id}/results`}, "Download");
    if (result) result.download = "";
    fill(item.buttons, result, forget);
  }

  async cancel(id) {
    try {
      const response = await fetch(`jobs/${id}`, {method: "DELETE"});
      if (response.ok || response.status === 404) this.drop(id);
      else this.say(`the server answers ${response.status}`, true);
    } catch {
      this.say("The server can't be reached.", true);
    }
  }

  drop(id) {
    this.items.get(id)?.element.remove();
    this.items.delete(id);
    this.keep();
  }
}
