// How far the job is, and when it will end.

import { byId, element } from "./elements.js";
import { LABELS } from "./states.js";
import { dollars, duration, few, rate, voxels, whole } from "./words.js";

const IN_BAR = ["done", "slow", "skipped", "running", "dead", "failed", "waiting"];

export function showProgress(look) {
  const { status, counts } = look;
  const percent = status.total ? Math.min(100, (100 * status.done) / status.total) : 0;
  // Never 100% before the last box is done.
  byId("percent").textContent = `${(Math.floor(percent * 10) / 10).toFixed(1)}%`;
  byId("done").textContent = `${whole(status.done)} of ${whole(status.total)} boxes done`;
  byId("eta").textContent = ending(look);
  showBar(counts, status.total);
  showTiles(look);
  showFaster(look);
  document.title = `${Math.floor(percent)}% ${status.job}`;
}

function ending({ status, eta, etaRange }) {
  if (status.done >= status.total) return "all boxes are done";
  if (status.state !== "running") return status.state;
  if (eta === null) return "time left unknown";
  const spread = etaRange ? ` (${duration(etaRange[0])} to ${duration(etaRange[1])})` : "";
  return `about ${duration(eta)} left${spread}`;
}

function showBar(counts, total) {
  const parts = IN_BAR.map((state) => {
    const part = element("i", `of-${state}`);
    part.style.width = `${(100 * counts[state]) / (total || 1)}%`;
    return part;
  });
  byId("bar").replaceChildren(...parts);
  byId("bar").ariaLabel = IN_BAR.filter((state) => counts[state]).map((state) => `${LABELS[state]} ${counts[state]}`).join(", ");
}

function showTiles({ status, counts, retries, read, voxelsPerSecond, median, deviceBusy, lost }) {
  const tiles = [
    ["Rate", rate(status.rate), voxelsPerSecond ? `${voxels(voxelsPerSecond)}/s` : ""],
    ["A box takes", median ? duration(median) : "unknown", median ? "median" : "few records yet"],
    ["Running", whole(counts.running), "in hand of workers"],
    ["Failed", whole(status.failed), counts.dead ? `${whole(counts.dead)} given up` : "not done", status.failed],
    ["Missing", whole(status.missing), "no record yet"],
    ["Retried", read ? `${((100 * retries) / read).toFixed(1)}%` : "unknown", `of ${whole(read)} records read`],
  ];
  if (deviceBusy !== null) tiles.push(["Device busy", `${Math.round(100 * deviceBusy)}%`, "of the time of workers"]);
  if (lost) tiles.push(["Lost", duration(lost), "in attempts that left nothing"]);
  if (status.spent) tiles.push(spentTile(status.spent));
  if (status.queue) {
    tiles.push(
      ["In the queue", whole(status.waiting + status.delayed), "messages, approx."],
      ["In flight", whole(status.in_flight), "messages, approx."],
      ["Dead letters", whole(status.dead), "of all jobs", status.dead],
    );
  }
  byId("tiles").replaceChildren(...tiles.map(([term, value, note, bad]) => element(
    "div", bad ? "bad" : "", element("dt", "", term), element("dd", "", value, element("small", "", note)),
  )));
}

/** What the job has taken, beside its stored plan: dollars if the plan has a price, else hours. */
function spentTile(spent) {
  const isPriced = spent.planned_dollars !== null;
  const say = isPriced ? dollars : (hours) => (hours === null ? "unknown" : `${few(hours)} h`);
  const [now, whole, planned] = ["", "forecast_", "planned_"].map((of) => spent[`${of}${isPriced ? "dollars" : "hours"}`]);
  const isMore = whole !== null && planned !== null && whole > 1.2 * planned;
  return ["Spent", say(now), `${say(whole)} in all, planned ${say(planned)}`, isMore];
}

function showFaster({ eta, alive, status }) {
  const isShown = eta !== null && alive > 0 && status.done < status.total;
  byId("faster").hidden = !isShown;
  if (!isShown) return;
  const say = () => {
    const more = Math.max(0, Number(byId("more").value) || 0);
    byId("faster-eta").textContent = `about ${duration((eta * alive) / (alive + more))} left, if nothing else limits them`;
  };
  byId("more").oninput = say;
  say();
}
