// All that is known of one box.

import { ask, canAct } from "./actions.js";
import { bars, button, byId, command, element, facts, scrollable, swatch } from "./elements.js";
import { HINTS, LABELS } from "./states.js";
import { bytes, duration, time, voxels } from "./words.js";

let wanted = "";

export async function showBox(name) {
  wanted = name;
  const address = `/api/box/${encodeURIComponent(name)}`;
  let found;
  try {
    const answer = await fetch(address);
    found = await answer.json();
  } catch {
    found = { error: "the server does not answer" };
  }
  if (wanted !== name) return; // another was chosen meanwhile
  byId("box-body").replaceChildren(...(found.box ? parts(found, address) : [element("p", "dim", found.error)]));
}

function parts(found, address) {
  const made = [
    element("p", "box-name", found.box),
    element("p", "box-state", swatch(found.state), LABELS[found.state], element("span", "dim", HINTS[found.state])),
  ];
  if (found.error) made.push(element("h3", "", "Error"), scrollable(element("pre", "error", found.error)));
  if (found.log.length) made.push(element("h3", "", "Log"), scrollable(element("pre", "", found.log.join("\n"))));
  if (found.previews.length) made.push(previews(found, address));
  if (found.record) made.push(...recorded(found.record, found.written));
  made.push(element("h3", "", "Reproduce on this machine, without writing"), command(found.reproduce));
  const last = element("p", "actions");
  if (found.link) last.append(outward(found.link));
  if (canAct() && (found.state === "failed" || found.state === "dead")) {
    last.append(button("Send back\u2026", () => ask("redrive", { box: found.box })));
  }
  if (last.childNodes.length) made.push(element("h3", "", "More"), last);
  return made;
}

function outward(address) {
  const link = element("a", "", "Open in Neuroglancer");
  [link.href, link.target, link.rel] = [address, "_blank", "noopener noreferrer"];
  return link;
}

function previews(found, address) {
  const all = element("div", "previews");
  for (const name of found.previews) {
    const image = element("img");
    image.alt = `middle section of the ${name}`;
    image.loading = "lazy";
    const caption = element("figcaption", "", name);
    image.addEventListener("error", () => { image.remove(); caption.textContent = `${name}: nothing to show`; });
    image.src = `${address}/${name}.png`;
    all.append(element("figure", "", image, caption));
  }
  return all;
}

function recorded(record, written) {
  const share = Object.entries(record.timer).filter(([, seconds]) => seconds > 0);
  const made = [facts([
    ["Took", record.seconds ? duration(record.seconds) : ""],
    ["Attempts", record.attempts],
    ["Skipped", record.skipped],
    ["Worker", record.worker],
    ["Device", record.compute_device],
    ["Finished", time(record.finished)],
    ["Voxels", record.voxels ? voxels(record.voxels) : ""],
    ["Patches", record.patches || ""],
    ["Read", bytes(record.bytes_read)],
    ["Written", bytes(record.bytes_written)],
    ["Peak memory", bytes(record.memory_peak)],
    ["Output", written.join("; ")],
  ])];
  if (share.length) {
    made.push(element("h3", "", "Time of each operator"));
    made.push(bars(share.map(([name, seconds]) => [name, seconds, duration(seconds)])));
  }
  return made;
}
