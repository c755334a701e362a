// The page of a job: brings what the server tells to the parts of the page.

import { listenForActions, tell } from "./actions.js";
import { showBox } from "./box.js";
import { RateChart } from "./chart.js";
import { byId } from "./elements.js";
import { Events } from "./events.js";
import { showFailures } from "./failures.js";
import { Legend } from "./legend.js";
import { BoxMap } from "./map.js";
import { OperatorChart } from "./operators.js";
import { showProgress } from "./progress.js";
import { rate } from "./words.js";
import { showWorkers } from "./workers.js";

const map = new BoxMap((name) => showBox(name));
const legend = new Legend((state) => map.showOnly(state));
const chart = new RateChart();
const operators = new OperatorChart();
let [lookedAt, isLost] = [0, false];

function choose(name) {
  map.select(name);
  showBox(name);
}

function show(look) {
  const { status } = look;
  [lookedAt, isLost] = [Date.now(), false];
  byId("job").textContent = status.job;
  const badge = byId("state");
  badge.textContent = status.done >= status.total ? "done" : status.state;
  badge.className = `badge ${status.state}`;
  badge.hidden = false;
  const why = status.state !== "running" && status.why ? `: ${status.why}` : "";
  byId("about").textContent = (status.queue ? `queue ${status.queue}` : "no queue") + why;
  showProgress(look);
  legend.show(look.counts);
  showFailures(look, choose);
  showWorkers(look, choose);
  byId("rate-now").textContent = status.rate ? `now ${rate(status.rate)}` : "";
  operators.show(look);
  showAge();
}

function showAge() {
  byId("live").classList.toggle("lost", isLost);
  const ago = Math.round((Date.now() - lookedAt) / 1000);
  byId("age").textContent = isLost ? "connection lost, trying again" : lookedAt ? `updated ${ago} s ago` : "connecting";
}

new Events({
  started(job, grid) {
    listenForActions(job.actions);
    byId("neuroglancer").hidden = !job.neuroglancer;
    if (job.problem) tell(job.problem);
    chart.start(job.history);
    map.show(grid);
    show(job);
  },
  changed(look, grid) {
    chart.add(look.point);
    map.show(grid);
    show(look);
  },
  problem: tell,
  lost() {
    isLost = true;
    showAge();
  },
}).open();
setInterval(showAge, 1000);
