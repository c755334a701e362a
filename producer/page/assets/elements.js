// Makes elements. Text is only ever set as text, so that nothing in a record can become a tag.

export const byId = (id) => document.getElementById(id);

/** An element with classes, and children that are elements or text. */
export function element(tag, classes = "", ...children) {
  const made = document.createElement(tag);
  if (classes) made.className = classes;
  made.append(...children.map((child) => (child instanceof Node ? child : visible(String(child)))));
  return made;
}

export function button(text, pressed, classes = "") {
  const made = element("button", classes, text);
  made.type = "button";
  made.addEventListener("click", pressed);
  return made;
}

/** A command, with a button that copies it. */
export function command(text) {
  const copy = button("Copy", async () => {
    await navigator.clipboard.writeText(text);
    copy.textContent = "Copied";
    setTimeout(() => { copy.textContent = "Copy"; }, 1500);
  });
  return element("div", "command", scrollable(element("pre", "", text)), copy);
}

/** Can be scrolled by the keyboard, too. */
export function scrollable(made) {
  made.tabIndex = 0;
  return made;
}

export const swatch = (state) => element("span", `swatch of-${state}`);

/** Terms and their descriptions, without those that are empty. */
export function facts(pairs) {
  const list = element("dl", "facts");
  for (const [term, value] of pairs) {
    if (value !== "" && value !== null && value !== undefined) list.append(element("dt", "", term), element("dd", "", value));
  }
  return list;
}

/** Named shares of a whole as bars. pairs: [name, amount, words], and a colour if they have one. */
export function bars(pairs) {
  const whole = pairs.reduce((sum, [, amount]) => sum + amount, 0) || 1;
  const list = element("div", "share");
  for (const [name, amount, words, own] of pairs) {
    const part = element("i");
    part.style.width = `${(100 * amount) / whole}%`;
    if (own) part.style.background = own;
    list.append(element("div", "", element("span", "", name), element("span", "", words)), element("span", "track", part));
  }
  return list;
}

/** Control characters as the signs that stand for them, but line ends and tabs. */
function visible(text) {
  return text.replace(/[\0-\x08\x0b-\x1f]/g, (one) => String.fromCharCode(0x2400 + one.charCodeAt(0))).replace(/\x7f/g, "\u2421");
}
