// The map: what it shows, and what keys and the pointer do to it.

import { draw, pictureOf } from "./draw.js";
import { byId } from "./elements.js";
import { across, planePixels, ramp, sharePixels, shares } from "./projection.js";
import { LABELS, NAMES } from "./states.js";

const AXES = "zyx";
const MOST_ZOOM = 64;

export class BoxMap {
  /** choose: is called with the name of a box that was chosen. */
  constructor(choose) {
    this.choose = choose;
    this.canvas = byId("canvas");
    this.grid = null;
    [this.axis, this.isShare, this.only] = [0, false, 0];
    this.cursor = [0, 0, 0];
    this.chosen = null;
    [this.zoom, this.middle] = [1, [0.5, 0.5]];
    this.listen();
  }

  show(grid) {
    const isNew = !this.grid || String(this.grid.size) !== String(grid.size);
    this.grid = grid;
    if (isNew) this.setView();
    this.refresh();
  }

  /** The states have changed. */
  refresh() {
    this.picture = null;
    if (!this.frame) this.frame = requestAnimationFrame(() => { this.frame = 0; this.paint(); });
  }

  showOnly(state) {
    this.only = state;
    this.refresh();
  }

  select(name) {
    const zyx = this.grid?.find(name);
    if (!zyx) return;
    [this.chosen, this.cursor] = [zyx, [...zyx]];
    this.setPlane(zyx[this.axis]);
  }

  setView() {
    const [kind, axis] = byId("view").value.split("-");
    [this.isShare, this.axis] = [kind === "share", Number(axis)];
    const planes = this.grid.size[this.axis];
    byId("plane").max = planes - 1;
    byId("slider").hidden = this.isShare || planes === 1;
    byId("ramp").hidden = !this.isShare;
    byId("legend").hidden = this.isShare;
    [this.zoom, this.middle] = [1, [0.5, 0.5]];
    this.setPlane(Math.min(this.cursor[this.axis], planes - 1));
  }

  setPlane(at) {
    this.cursor[this.axis] = Math.max(0, Math.min(this.grid.size[this.axis] - 1, at));
    byId("plane").value = this.cursor[this.axis];
    const start = this.grid.start[this.axis] + this.grid.chunk[this.axis] * this.cursor[this.axis];
    const label = `Plane ${this.cursor[this.axis] + 1} of ${this.grid.size[this.axis]}, ${AXES[this.axis]} ${start}`;
    byId("plane-label").textContent = label;
    byId("plane").setAttribute("aria-valuetext", label);
    this.refresh();
  }

  paint() {
    if (!this.grid) return;
    const begin = performance.now();
    const [rows, columns] = across(this.axis).map((axis) => this.grid.size[axis]);
    if (!this.picture) this.picture = pictureOf(this.pixels(), columns, rows);
    this.resize(rows, columns);
    const [rowAxis, columnAxis] = across(this.axis);
    const marks = [];
    if (this.chosen && (this.isShare || this.chosen[this.axis] === this.cursor[this.axis])) {
      marks.push([this.chosen[columnAxis], this.chosen[rowAxis], 2.5]);
    }
    if (document.activeElement === this.canvas) {
      marks.push([this.cursor[columnAxis], this.cursor[rowAxis], 1.5]);
    }
    draw(this.canvas, this.picture, this.view, marks);
    if (!this.isPainted) performance.mark("map");
    this.isPainted = true;
    performance.measure("paint", { start: begin });
  }

  pixels() {
    if (!this.isShare) return planePixels(this.grid, this.axis, this.cursor[this.axis], this.only);
    this.counted = shares(this.grid, this.axis);
    const bar = byId("ramp-bar").getContext("2d");
    bar.putImageData(new ImageData(new Uint8ClampedArray(ramp(100).buffer), 100, 1), 0, 0);
    return sharePixels(this.grid, this.axis, this.counted);
  }

  /** Fit the canvas to its place, and the boxes to the canvas. */
  resize(rows, columns) {
    const [rowAxis, columnAxis] = across(this.axis);
    const { chunk } = this.grid;
    const tall = this.axis === 0 ? Math.max(0.25, Math.min(4, chunk[rowAxis] / chunk[columnAxis])) : 1;
    const shown = this.canvas.parentElement.clientWidth;
    const high = Math.max(160, Math.min(innerHeight * 0.62, (shown * rows * tall) / columns));
    const [width, height] = [shown, high].map((length) => Math.round(length * devicePixelRatio));
    if (this.canvas.width !== width || this.canvas.height !== height) {
      [this.canvas.width, this.canvas.height] = [width, height];
      this.canvas.style.height = `${high}px`;
    }
    const cell = Math.min(width / columns, height / (rows * tall), 64 * devicePixelRatio) * this.zoom;
    const size = [cell * columns, cell * tall * rows];
    const [left, top] = [width, height].map((length, i) => (
      size[i] <= length ? (length - size[i]) / 2
        : Math.min(0, Math.max(length - size[i], length / 2 - size[i] * this.middle[i]))
    ));
    [width, height].forEach((length, i) => {
      if (size[i] > length) this.middle[i] = (length / 2 - [left, top][i]) / size[i];
    });
    this.view = { left, top, width: cell, height: cell * tall };
  }

  setZoom(zoom) {
    this.zoom = Math.max(1, Math.min(MOST_ZOOM, zoom));
    this.paint();
  }

  /** The box under the pointer, as zyx; null beside the grid. */
  under(event) {
    if (!this.view) return null;
    const frame = this.canvas.getBoundingClientRect();
    const scale = this.canvas.width / frame.width;
    const column = Math.floor(((event.clientX - frame.left) * scale - this.view.left) / this.view.width);
    const row = Math.floor(((event.clientY - frame.top) * scale - this.view.top) / this.view.height);
    const [rowAxis, columnAxis] = across(this.axis);
    if (row < 0 || column < 0 || row >= this.grid.size[rowAxis] || column >= this.grid.size[columnAxis]) return null;
    const zyx = [...this.cursor];
    [zyx[rowAxis], zyx[columnAxis]] = [row, column];
    return zyx;
  }

  /** A box, or a line of boxes, in words. */
  words(zyx) {
    if (this.isShare) {
      const [rowAxis, columnAxis] = across(this.axis);
      const at = zyx[rowAxis] * this.grid.size[columnAxis] + zyx[columnAxis];
      const { all, done, bad } = this.counted;
      return all[at] ? `${done[at]} of ${all[at]} done${bad[at] ? `, ${bad[at]} failed or dead` : ""}` : "no boxes";
    }
    const state = NAMES[this.grid.state(...zyx)];
    return state === "outside" ? "no box of the job" : `${this.grid.name(...zyx)}: ${LABELS[state]}`;
  }

  pick(zyx) {
    if (this.isShare || !this.grid.state(...zyx)) return;
    [this.chosen, this.cursor] = [[...zyx], [...zyx]];
    this.paint();
    this.choose(this.grid.name(...zyx));
  }

  move(rows, columns, planes) {
    const [rowAxis, columnAxis] = across(this.axis);
    for (const [axis, by] of [[rowAxis, rows], [columnAxis, columns]]) {
      this.cursor[axis] = Math.max(0, Math.min(this.grid.size[axis] - 1, this.cursor[axis] + by));
    }
    if (planes && !this.isShare) this.setPlane(this.cursor[this.axis] + planes);
    this.middle = [(this.cursor[columnAxis] + 0.5) / this.grid.size[columnAxis], (this.cursor[rowAxis] + 0.5) / this.grid.size[rowAxis]];
    this.paint();
    byId("spoken").textContent = this.words(this.cursor);
  }

  listen() {
    const { canvas } = this;
    byId("view").addEventListener("change", () => this.setView());
    byId("plane").addEventListener("input", () => this.setPlane(Number(byId("plane").value)));
    byId("closer").addEventListener("click", () => this.setZoom(this.zoom * 2));
    byId("farther").addEventListener("click", () => this.setZoom(this.zoom / 2));
    byId("fit").addEventListener("click", () => this.setZoom(1));
    const again = () => this.refresh();
    addEventListener("resize", again);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
    for (const kind of ["focus", "blur"]) canvas.addEventListener(kind, () => this.paint());
    canvas.addEventListener("keydown", (event) => this.onKey(event));
    canvas.addEventListener("pointermove", (event) => this.onMove(event));
    canvas.addEventListener("pointerleave", () => { byId("tip").hidden = true; });
    canvas.addEventListener("pointerdown", (event) => {
      this.drag = { x: event.clientX, y: event.clientY, middle: [...this.middle], moved: false };
    });
    canvas.addEventListener("pointerup", (event) => {
      const zyx = this.drag?.moved ? null : this.under(event);
      this.drag = null;
      if (zyx) this.pick(zyx);
    });
    canvas.addEventListener("pointercancel", () => { this.drag = null; });
    canvas.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && document.activeElement !== canvas) return;
      event.preventDefault();
      this.setZoom(this.zoom * (event.deltaY < 0 ? 1.25 : 0.8));
    }, { passive: false });
  }

  onKey(event) {
    const moves = {
      ArrowUp: [-1, 0, 0], ArrowDown: [1, 0, 0], ArrowLeft: [0, -1, 0], ArrowRight: [0, 1, 0],
      PageUp: [0, 0, -1], PageDown: [0, 0, 1],
    };
    if (!this.grid) return;
    if (moves[event.key]) this.move(...moves[event.key]);
    else if (event.key === "Enter" || event.key === " ") this.pick(this.cursor);
    else if (event.key === "+") this.setZoom(this.zoom * 2);
    else if (event.key === "-") this.setZoom(this.zoom / 2);
    else return;
    event.preventDefault();
  }

  onMove(event) {
    if (!this.grid) return;
    const { drag } = this;
    if (drag && Math.hypot(event.clientX - drag.x, event.clientY - drag.y) > 4) drag.moved = true;
    if (drag?.moved && this.zoom > 1) {
      const scale = devicePixelRatio;
      this.middle = [
        drag.middle[0] - ((event.clientX - drag.x) * scale) / (this.view.width * this.picture.width),
        drag.middle[1] - ((event.clientY - drag.y) * scale) / (this.view.height * this.picture.height),
      ];
      this.paint();
    }
    const [tip, zyx] = [byId("tip"), this.under(event)];
    tip.hidden = !zyx || drag?.moved === true;
    if (tip.hidden) return;
    tip.textContent = this.words(zyx);
    const frame = this.canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - frame.left, event.clientY - frame.top];
    tip.style.left = `${Math.max(0, Math.min(x + 14, frame.width - tip.offsetWidth))}px`;
    tip.style.top = `${y + 18}px`;
  }
}
