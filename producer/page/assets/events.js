// What the server tells: all at first, then what changed.

import { Grid } from "./grid.js";

/**
 * started: is called with all that is known and the grid, changed: with a look and the grid,
 * problem: with why a look failed, lost: when the server does not answer.
 */
export class Events {
  constructor(listener) {
    this.listener = listener;
    this.grid = null;
  }

  open() {
    const source = new EventSource("/api/events");
    source.addEventListener("open", () => this.reload());
    source.addEventListener("look", (event) => this.onLook(JSON.parse(event.data)));
    source.addEventListener("problem", (event) => this.listener.problem(JSON.parse(event.data).text));
    source.addEventListener("error", () => this.listener.lost());
  }

  async reload() {
    try {
      const [job, states] = await Promise.all([fetch("/api/job"), fetch("/api/map")]);
      const facts = await job.json();
      const packed = new Uint8Array(await states.arrayBuffer());
      this.grid = Grid.unpack(facts.grid, packed, Number(states.headers.get("X-Look")));
      this.listener.started(facts, this.grid);
    } catch {
      this.listener.lost();
    }
  }

  onLook(look) {
    if (!this.grid || look.number <= this.grid.number) return;
    if (look.runs === null || look.number !== this.grid.number + 1) {
      this.reload();
      return;
    }
    const begin = performance.now();
    this.grid.change(look.runs, look.number);
    this.listener.changed(look, this.grid);
    performance.measure("update", { start: begin });
  }
}
