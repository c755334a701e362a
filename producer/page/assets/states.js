// The states of boxes: their numbers are those of the server (box_states.py).

export const OUTSIDE = 0;
export const NAMES = ["outside", "waiting", "running", "done", "skipped", "failed", "dead", "slow"];
export const LABELS = {
  waiting: "waiting", running: "running", done: "done", slow: "done, slow", skipped: "skipped",
  failed: "failed", dead: "dead",
};
export const HINTS = {
  waiting: "no record yet", running: "a worker has it in hand", done: "recorded as done",
  slow: "done, and took more than 3 times the median", skipped: "done: the chain had nothing to do",
  failed: "the last attempt failed; it may be tried again", dead: "failed, and given up",
};
export const ORDER = Object.keys(LABELS);
export const isDone = Uint8Array.from([0, 0, 0, 1, 1, 0, 0, 1]);
export const isBad = Uint8Array.from([0, 0, 0, 0, 0, 1, 1, 0]);

/** The colours of the states as numbers that a picture holds (ABGR), by their numbers. */
export function palette() {
  const style = getComputedStyle(document.documentElement);
  return Uint32Array.from(NAMES, (name) => pixel(style.getPropertyValue(`--${name}`).trim()));
}

/** A colour #rrggbb as a number that a picture holds. share: mixed with `other`. */
export function pixel(colour, other = colour, share = 0) {
  const mix = (at) => {
    const [a, b] = [colour, other].map((text) => parseInt(text.slice(at, at + 2), 16));
    return Math.round(a + (b - a) * share);
  };
  return ((255 << 24) | (mix(5) << 16) | (mix(3) << 8) | mix(1)) >>> 0;
}

export function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}
