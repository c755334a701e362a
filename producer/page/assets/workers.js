// What the workers say of themselves.

import { button, byId, element } from "./elements.js";
import { bytes, duration, whole } from "./words.js";

const COLUMNS = ["Worker", "Device", "In hand", "Lease left", "Done", "Failed", "Memory", "Last sign"];
const NUMBERS = new Set(["Lease left", "Done", "Failed", "Memory", "Last sign"]);

/** choose: is called with the name of a box that was chosen. */
export function showWorkers({ workers, alive, status, median }, choose) {
  byId("workers-note").textContent = workers.length ? `${whole(alive)} of ${whole(workers.length)} at work` : "";
  if (!workers.length) {
    byId("workers").replaceChildren(element("p", "dim", "No worker has told of itself. Workers do so below the ledger every few seconds."));
    return;
  }
  const table = element("table");
  table.append(element("thead", "", element("tr", "", ...COLUMNS.map((name) => heading(name)))));
  table.append(element("tbody", "", ...workers.map((worker) => row(worker, status.job, median, choose))));
  byId("workers").replaceChildren(table);
}

function heading(name) {
  const made = element("th", NUMBERS.has(name) ? "number" : "", name);
  made.scope = "col";
  return made;
}

function row(worker, job, median, choose) {
  const cell = (classes, ...children) => element("td", classes, ...children);
  const lease = Math.min(...worker.in_hand.map((one) => one.lease));
  const place = [worker.host, worker.zone].filter(Boolean).join(", ");
  return element("tr", worker.alive ? "" : "gone",
    cell("", worker.worker, element("small", "", place)),
    cell("", worker.device, element("small", "", gpu(worker.gpu))),
    cell("", ...worker.in_hand.map((one) => inHand(one, job, median, choose)), worker.in_hand.length ? "" : worker.phase),
    cell("number", worker.alive && Number.isFinite(lease) ? duration(lease) : ""),
    cell("number", whole(worker.done + worker.skipped)),
    cell("number", whole(worker.failed)),
    cell("number", bytes(worker.memory)),
    cell("number", worker.alive ? `${duration(worker.age)} ago` : `gone for ${duration(worker.age)}`),
  );
}

function gpu(use) {
  if (!use) return "";
  const busy = use.utilization === null ? "" : `${Math.round(use.utilization * 100)}% busy, `;
  return `${busy}${bytes(use.memory) || "0 B"} of ${bytes(use.memory_total)}`;
}

function inHand(one, job, median, choose) {
  const isSlow = median && one.seconds > 3 * median;
  const words = [one.operator, duration(one.seconds), one.attempt > 1 ? `attempt ${one.attempt}` : "", isSlow ? "slow" : ""];
  const box = one.job === job ? button(one.bbox, () => choose(one.bbox), "quiet") : element("span", "", `${one.bbox} of ${one.job}`);
  return element("div", "", box, element("small", "", words.filter(Boolean).join(", ")));
}
