// The entry that the address names is open.

import { openTarget } from "./common.js";

for (const entry of document.querySelectorAll("details.operation")) {
  entry.addEventListener("toggle", () => {
    if (entry.open && location.hash !== `#${entry.id}`) history.replaceState(null, "", `#${entry.id}`);
  });
}
window.addEventListener("hashchange", () => openTarget());
openTarget();
