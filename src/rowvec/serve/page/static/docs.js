// The entry that the address names is open.

function openTarget() {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!(target instanceof HTMLDetailsElement)) return;
  target.open = true;
  target.scrollIntoView();
  target.querySelector("summary").focus();
}

for (const entry of document.querySelectorAll("details.operation")) {
  entry.addEventListener("toggle", () => {
    if (entry.open && location.hash !== `#${entry.id}`) history.replaceState(null, "", `#${entry.id}`);
  });
}
window.addEventListener("hashchange", openTarget);
openTarget();
