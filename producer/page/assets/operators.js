// Where the time goes: the share of each operator, and its seconds over time, one on the other.

import uPlot from "./uPlot.js";
import { clock } from "./chart.js";
import { bars, byId } from "./elements.js";
import { colour } from "./states.js";
import { duration, whole } from "./words.js";

const HEIGHT = 150;
const COLOURS = 7; // --operator-0 and so on

export class OperatorChart {
  constructor() {
    this.look = null;
    this.shown = ""; // what is plotted
    const again = () => this.look && this.draw();
    addEventListener("resize", again);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { this.shown = ""; again(); });
  }

  show(look) {
    this.look = look;
    this.draw();
  }

  draw() {
    const { operators, overTime, read } = this.look;
    const sum = Object.values(operators).reduce((seconds, one) => seconds + one, 0) || 1;
    const names = overTime.operators.map(([name]) => name);
    const rest = sum - names.reduce((seconds, name) => seconds + (operators[name] ?? 0), 0);
    byId("time-note").textContent = names.length ? `in ${whole(read)} records read` : "";
    const told = names.map((name, at) => {
      const seconds = operators[name] ?? rest;
      return [name, seconds, `${Math.round((100 * seconds) / sum)}%, ${duration(seconds / read)} a box`, colour(`operator-${at % COLOURS}`)];
    });
    byId("operators").replaceChildren(names.length ? bars(told) : "No record tells it yet.");
    this.plotOverTime(overTime);
  }

  plotOverTime({ times, operators }) {
    const holder = byId("over-time");
    holder.hidden = times.length < 2;
    const now = JSON.stringify([times, operators, holder.clientWidth]);
    if (holder.hidden || this.shown === now) return;
    this.shown = now;
    this.plot?.destroy();
    const sums = stacked(operators.map(([, seconds]) => seconds));
    const axis = { stroke: colour("dim"), grid: { stroke: colour("line"), width: 1 }, ticks: { show: false } };
    // The highest sum is drawn first, and lower ones over it.
    const series = sums.map((_, at) => {
      const own = colour(`operator-${at % COLOURS}`);
      return { stroke: own, fill: own, width: 1, points: { show: false } };
    });
    this.plot = new uPlot({
      width: holder.clientWidth,
      height: HEIGHT,
      cursor: { show: false },
      scales: { y: { range: (_, low, high) => [0, (high || 1) * 1.1] } },
      axes: [{ ...axis, size: 34, space: 84, values: clock }, { ...axis, size: 56, label: "s a box", labelSize: 20 }],
      series: [{}, ...series.reverse()],
    }, [times, ...sums.reverse()], holder);
  }
}

/** Sums of the rows up to each row. */
export function stacked(rows) {
  let below = null;
  return rows.map((row) => {
    below = row.map((value, at) => value + (below ? below[at] : 0));
    return below;
  });
}
