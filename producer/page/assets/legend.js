// The states with their colours and counts; one of them can be shown alone.

import { button, byId, element, swatch } from "./elements.js";
import { HINTS, LABELS, NAMES, ORDER } from "./states.js";
import { whole } from "./words.js";

export class Legend {
  /** choose: is called with the number of the state to show alone, or 0 for all. */
  constructor(choose) {
    this.counts = {};
    for (const state of ORDER) {
      this.counts[state] = element("b", "", "0");
      const one = button("", () => {
        const isOn = one.getAttribute("aria-pressed") !== "true";
        for (const other of byId("legend").querySelectorAll("button")) other.setAttribute("aria-pressed", "false");
        one.setAttribute("aria-pressed", String(isOn));
        choose(isOn ? NAMES.indexOf(state) : 0);
      });
      one.append(swatch(state), element("span", "", LABELS[state]), this.counts[state]);
      one.title = HINTS[state];
      one.dataset.state = state;
      one.setAttribute("aria-pressed", "false");
      byId("legend").append(element("li", "", one));
    }
  }

  show(counts) {
    for (const state of ORDER) {
      this.counts[state].textContent = whole(counts[state]);
      this.counts[state].parentElement.classList.toggle("none", !counts[state]);
    }
  }
}
