// Bring a tree of nodes to what another one says by changing only what differs: what has the focus, a selection, an
// open <details> and the place of a scroll bar stay as they are.

export function patch(old, fresh) {
  if (old.isEqualNode(fresh)) return;
  if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName) {
    old.replaceWith(fresh);
    return;
  }
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  attributes(old, fresh);
  children(old, fresh);
}

function attributes(old, fresh) {
  const kept = (name) => (old.nodeName === "DETAILS" && name === "open") || (old.nodeName === "BUTTON" && name === "aria-disabled");
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name) && !kept(name)) old.removeAttribute(name);
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
}

// Children with a data-key are followed where they moved; others are taken in their order.
export function children(old, fresh) {
  let at = old.firstChild;
  for (const child of [...fresh.childNodes]) {
    const key = child.dataset?.key;
    const moved = key && [...old.children].find((each) => each.dataset.key === key);
    if (key && !moved) {
      old.insertBefore(child, at);
      continue;
    }
    if (moved && moved !== at) {
      old.insertBefore(moved, at);
      at = moved;
    }
    if (!at) {
      old.append(child);
      continue;
    }
    const next = at.nextSibling;
    patch(at, child);
    at = next;
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

// A fragment that a template of the server made, which escapes every value. Scripts in it would not run.
export function parsed(html) {
  return new DOMParser().parseFromString(html, "text/html").body;
}
