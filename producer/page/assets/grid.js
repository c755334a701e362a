// The boxes of a job: where they are, and the state of each.

import { OUTSIDE } from "./states.js";

export class Grid {
  constructor(facts, states, number) {
    Object.assign(this, facts);
    this.states = states;
    this.number = number; // of the look that the states are of
  }

  /** states: two a byte, the lower four bits first. */
  static unpack(facts, packed, number) {
    const states = new Uint8Array(facts.count);
    const even = facts.count & ~1;
    for (let i = 0, at = 0; i < even; at++) {
      states[i++] = packed[at] & 15;
      states[i++] = packed[at] >> 4;
    }
    if (even < facts.count) states[even] = packed[even >> 1] & 15;
    return new Grid(facts, states, number);
  }

  /** runs: first place, length and new state, one after the other. */
  change(runs, number) {
    for (let i = 0; i < runs.length; i += 3) {
      this.states.fill(runs[i + 2], runs[i], runs[i] + runs[i + 1]);
    }
    this.number = number;
  }

  /** The place of the box at z, y, x; below 0 or too large where the job has none. */
  place(z, y, x) {
    return (z * this.size[1] + y) * this.size[2] + x - this.first;
  }

  state(z, y, x) {
    return this.states[this.place(z, y, x)] ?? OUTSIDE;
  }

  zyx(place) {
    const [, height, width] = this.size;
    const index = place + this.first;
    return [Math.floor(index / (height * width)), Math.floor(index / width) % height, index % width];
  }

  name(z, y, x) {
    return [z, y, x].map((at, axis) => {
      const start = this.start[axis] + this.chunk[axis] * at;
      const stop = start + this.chunk[axis];
      return `${start}-${this.stop ? Math.min(stop, this.stop[axis]) : stop}`;
    }).join("_");
  }

  /** Where the box of a name is; null for a name that is none. */
  find(name) {
    const edges = name.split("_").map((text) => parseInt(text, 10));
    const zyx = edges.map((edge, axis) => Math.round((edge - this.start[axis]) / this.chunk[axis]));
    return zyx.length === 3 && this.name(...zyx) === name ? zyx : null;
  }
}
