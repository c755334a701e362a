// A picture of one plane of boxes, or of all planes along an axis: a pixel a box.

import { colour, isBad, isDone, OUTSIDE, palette, pixel } from "./states.js";

/** The axes of a picture that looks along `axis`: of its rows and of its columns. */
export const across = (axis) => [[1, 2], [0, 2], [0, 1]][axis];

/** The pixels of a plane. only: the number of the only state that is shown in full; or 0. */
export function planePixels(grid, axis, at, only) {
  const [rowAxis, columnAxis] = across(axis);
  const [rows, columns] = [grid.size[rowAxis], grid.size[columnAxis]];
  const pixels = new Uint32Array(rows * columns);
  const colours = only ? dimmed(only) : palette();
  const strides = [grid.size[1] * grid.size[2], grid.size[2], 1];
  const origin = at * strides[axis] - grid.first;
  for (let row = 0, i = 0; row < rows; row++) {
    let place = origin + row * strides[rowAxis];
    for (let column = 0; column < columns; column++, i++, place += strides[columnAxis]) {
      pixels[i] = colours[grid.states[place] ?? OUTSIDE];
    }
  }
  return pixels;
}

function dimmed(only) {
  const [back, shown] = [pixel(colour("waiting"), colour("outside"), 0.55), palette()];
  return shown.map((one, state) => (state === only || state === OUTSIDE ? one : back));
}

/** The share of boxes that are done, and how many are bad, of each line of boxes along `axis`. */
export function shares(grid, axis) {
  const [rowAxis, columnAxis] = across(axis);
  const [rows, columns] = [grid.size[rowAxis], grid.size[columnAxis]];
  const counted = { all: new Uint32Array(rows * columns), done: new Uint32Array(rows * columns), bad: new Uint32Array(rows * columns) };
  const [depth, height, width] = grid.size;
  let index = 0;
  for (let z = 0; z < depth; z++) {
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++, index++) {
        const state = grid.states[index - grid.first];
        if (!state) continue;
        const at = axis === 0 ? y * width + x : axis === 1 ? z * width + x : z * height + y;
        counted.all[at] += 1;
        counted.done[at] += isDone[state];
        counted.bad[at] += isBad[state];
      }
    }
  }
  return counted;
}

export function ramp(steps = 101) {
  const [from, to] = [colour("waiting"), colour("done")];
  return Uint32Array.from({ length: steps }, (_, i) => pixel(from, to, i / (steps - 1)));
}

export function sharePixels(grid, axis, counted) {
  const [colours, outside, bad] = [ramp(), pixel(colour("outside")), pixel(colour("dead"))];
  return counted.all.map((all, i) => {
    if (!all) return outside;
    return counted.bad[i] ? bad : colours[Math.floor((100 * counted.done[i]) / all)];
  });
}
