// Tasks done a minute over time.

import uPlot from "./uPlot.js";
import { byId } from "./elements.js";
import { colour } from "./states.js";

const BINS = 60;
const HEIGHT = 200;

export class RateChart {
  constructor() {
    this.points = [];
    const again = () => this.draw();
    addEventListener("resize", again);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  }

  /** points: [seconds since 1970, boxes done until then]. */
  start(points) {
    this.points = points;
    this.draw();
  }

  add(point) {
    this.points.push(point);
    this.draw();
  }

  draw() {
    const holder = byId("rate");
    const data = rates(this.points);
    const size = { width: holder.clientWidth, height: HEIGHT };
    const theme = colour("card");
    if (this.plot && this.theme === theme && data[0].length) {
      if (this.plot.width !== size.width) this.plot.setSize(size);
      this.plot.setData(data);
      return;
    }
    this.plot?.destroy();
    this.plot = null;
    holder.replaceChildren();
    if (data[0].length < 2) {
      holder.textContent = "Too few boxes are done to show a rate.";
      return;
    }
    this.theme = theme;
    const axis = { stroke: colour("dim"), grid: { stroke: colour("line"), width: 1 }, ticks: { show: false } };
    this.plot = new uPlot({
      ...size,
      cursor: { y: false },
      scales: { y: { range: (_, low, high) => [0, (high || 1) * 1.1] } },
      axes: [{ ...axis, size: 34, space: 84, values: clock }, { ...axis, size: 56, label: "a minute", labelSize: 20 }],
      series: [{}, { stroke: colour("done"), width: 2, fill: `${colour("done")}26`, points: { show: false }, paths: uPlot.paths.stepped({ align: -1 }) }],
    }, data, holder);
  }
}

export function clock(plot, times) {
  const isLong = times.length > 1 && times[times.length - 1] - times[0] > 86400;
  return times.map((time) => {
    const at = new Date(time * 1000);
    return isLong ? at.toLocaleDateString("sv").slice(5) : at.toLocaleTimeString("sv").slice(0, times[1] - times[0] < 60 ? 8 : 5);
  });
}

/** Boxes a minute, in at most 60 bins of the same length. */
export function rates(points) {
  if (points.length < 2) return [[], []];
  const [first, last] = [points[0][0], points[points.length - 1][0]];
  const width = Math.max((last - first) / BINS, 5);
  const [times, values] = [[], []];
  let [begin, before] = points[0];
  for (const [time, done] of points) {
    if (time - begin < width && time !== last) continue;
    if (time > begin) {
      times.push(time);
      values.push((Math.max(0, done - before) / (time - begin)) * 60);
    }
    [begin, before] = [time, done];
  }
  return [times, values];
}
