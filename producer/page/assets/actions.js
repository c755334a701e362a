// What the page may do to the job: only with the token of the printed link, and after a question.

import { byId } from "./elements.js";

const QUESTIONS = {
  redrive: ["Send dead letters back?", "Workers try these tasks again, with no attempts spent.", "Send back"],
  pause: ["Pause the job?", "Workers finish tasks in progress and take no others of this job.", "Pause"],
  resume: ["Resume the job?", "Workers go on with it.", "Resume"],
  cancel: ["Cancel the job?", "Workers delete its messages. What is done stays.", "Cancel the job"],
};

let allowed = false;
const token = () => decodeURIComponent(location.hash.slice(1));

export const canAct = () => allowed && token() !== "";

export function listenForActions(isAllowed) {
  allowed = isAllowed;
  byId("actions").hidden = !canAct();
  for (const one of byId("actions").querySelectorAll("button")) {
    one.onclick = () => ask(one.dataset.action, {});
  }
}

/** Ask, do it, and tell what came of it. about: the cause or the box of the tasks. */
export function ask(action, about) {
  const [title, text, yes] = QUESTIONS[action];
  const dialog = byId("ask");
  byId("ask-title").textContent = title;
  byId("ask-text").textContent = [text, about.cause ?? about.box ?? ""].filter(Boolean).join(" ");
  byId("ask-why").hidden = action === "redrive" || action === "resume";
  byId("ask-yes").textContent = yes;
  byId("why").value = "";
  dialog.returnValue = "no";
  dialog.onclose = () => {
    if (dialog.returnValue === "yes") act({ action, why: byId("why").value, ...about });
  };
  dialog.showModal();
}

async function act(asked) {
  tell("\u2026");
  try {
    const answer = await fetch("/api/actions", {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-Chunkflow-Token": token() },
      body: JSON.stringify(asked),
    });
    const found = await answer.json();
    tell(found.done ?? found.error);
  } catch {
    tell("the server does not answer");
  }
}

export function tell(text) {
  byId("notice").textContent = text;
  byId("notice").hidden = !text;
}
