// Goes on to Neuroglancer: the address holds all boxes, which is too long for a redirection.

import { byId } from "./elements.js";

try {
  const found = await (await fetch("/api/neuroglancer")).json();
  if (found.link) location.replace(found.link);
  else byId("told").textContent = found.error;
} catch {
  byId("told").textContent = "the server does not answer";
}
