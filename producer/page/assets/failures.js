// Failures by cause, with the commands that reproduce them and send them back.

import { ask, canAct } from "./actions.js";
import { button, byId, command, element, scrollable } from "./elements.js";
import { whole } from "./words.js";

let shown = "";

/** choose: is called with the name of a box that was chosen. */
export function showFailures({ failures, failuresRead, status }, choose) {
  const now = JSON.stringify(failures);
  const partly = failuresRead < status.failed ? `; records read: ${whole(failuresRead)}` : "";
  byId("failures-note").textContent = `${whole(status.failed)} boxes failed, causes: ${failures.length}${partly}`;
  if (now === shown) return; // what is open stays open
  shown = now;
  const open = new Set([...byId("failures").querySelectorAll("details[open]")].map((one) => one.dataset.cause));
  byId("failures").replaceChildren(...failures.map((failure) => entry(failure, open, choose)));
  if (!failures.length) byId("failures").append(element("p", "dim", "No box has failed."));
}

function entry(failure, open, choose) {
  const details = element("details", "failure",
    element("summary", "", element("span", "count", whole(failure.count)), element("span", "cause", failure.cause)));
  details.dataset.cause = failure.cause;
  details.open = open.has(failure.cause);
  const more = failure.count - failure.boxes.length;
  details.append(
    element("h3", "", "Error of one of them"),
    scrollable(element("pre", "error", failure.error)),
    element("h3", "", "Boxes"),
    element("div", "boxes", ...failure.boxes.map((box) => button(box, () => choose(box), "quiet")), more > 0 ? `and ${whole(more)} more` : ""),
    element("h3", "", "Reproduce on this machine"),
    command(failure.reproduce),
  );
  if (failure.redrive) {
    details.append(element("h3", "", "Send back to the queue"), command(failure.redrive));
    if (canAct()) {
      const send = button("Send back\u2026", () => ask("redrive", { cause: failure.cause }), "redrive");
      details.append(send);
    }
  }
  return details;
}
