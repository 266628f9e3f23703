// What the server answers, and what it says when it can't.

const MOST_WAITS = 30;

export function query(names) {
  const given = Object.entries(names).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return new URLSearchParams(given).toString();
}

// The text of an error: a sentence, or the parts of one.
export function told(detail) {
  if (typeof detail === "string") return detail;
  if (Array.isArray(detail)) return detail.map(one => one.msg).join("; ");
  if (!detail) return "the server gave no reason";
  const parts = [detail.problem];
  for (const name of ["expected", "got", "hint"]) if (detail[name]) parts.push(`${name}: ${detail[name]}`);
  return parts.join("; ");
}

export async function reason(response) {
  try {
    return told((await response.json()).detail);
  } catch {
    return `the server answers ${response.status}`;
  }
}

const pause = (seconds, signal) => new Promise((resolve, reject) => {
  const timer = setTimeout(resolve, 1000 * seconds);
  signal?.addEventListener("abort", () => { clearTimeout(timer); reject(new DOMException("gone", "AbortError")); });
});

// A response; waits and asks again while the server has no room.
export async function get(address, options = {}) {
  for (let count = 0; ; count++) {
    const response = await fetch(address, options);
    const busy = response.status === 429 || response.status === 503;
    if (!busy || count === MOST_WAITS) return response;
    await pause(Math.min(10, Number(response.headers.get("Retry-After")) || 1), options.signal);
  }
}

export async function json(address, options) {
  const response = await get(address, options);
  if (!response.ok) throw new Error(await reason(response));
  return response.json();
}

// Save what an address gives as a file.
export async function save(address, name) {
  const response = await get(address);
  if (!response.ok) throw new Error(await reason(response));
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await response.blob());
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}
