"use strict";
// Live updates and the copy buttons. Without scripts the page works the same, and is renewed by reloading it.

const PAUSE = 2000; // milliseconds between two looks, and at least four times what the last one took
const button = document.getElementById("pause");
let paused = false;
let before = new Map();
let pressed = false; // a key or button is down: what it is on must not be exchanged under it

for (const name of ["keydown", "pointerdown"]) addEventListener(name, () => { pressed = true; }, true);
for (const name of ["keyup", "pointerup", "pointercancel", "blur"]) addEventListener(name, () => { pressed = false; }, true);

function parts(root) {
  return new Map([...root.querySelectorAll("[data-live]")].map((part) => [part.id, part.innerHTML]));
}

function renew(part, html) {
  const focused = part.contains(document.activeElement) ? document.activeElement.id : "";
  const open = [...part.querySelectorAll("details[open][id]")].map((one) => one.id);
  part.innerHTML = html;
  open.forEach((id) => document.getElementById(id)?.setAttribute("open", ""));
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
}

function busy(part) {
  const selected = document.getSelection();
  const selecting = selected && !selected.isCollapsed && part.contains(selected.anchorNode);
  const inside = part.contains(document.activeElement) && !document.activeElement.id;
  return pressed || selecting || inside || part.querySelector("details[open]:not([id])") !== null;
}

async function look() {
  const began = performance.now();
  if (!paused && !document.hidden) {
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
      if (answer.ok) {
        const found = parts(new DOMParser().parseFromString(await answer.text(), "text/html"));
        for (const [id, html] of found) {
          const part = document.getElementById(id);
          if (part && before.get(id) !== html && !busy(part)) {
            renew(part, html);
            before.set(id, html);
          }
        }
      }
    } catch {
      // the inspector was stopped; the page stays as it is
    }
  }
  setTimeout(look, Math.max(PAUSE, 4 * (performance.now() - began)));
}

document.addEventListener("click", async (event) => {
  const pressed = event.target.closest("[data-copy]");
  if (!pressed) return;
  const text = document.getElementById(pressed.dataset.copy);
  try {
    await navigator.clipboard.writeText(text.textContent);
    pressed.textContent = "Copied";
  } catch {
    document.getSelection().selectAllChildren(text);
    pressed.textContent = "Selected: press Ctrl+C";
  }
});

if (document.querySelector("[data-live]")) {
  before = parts(document);
  document.getElementById("pulse").hidden = false;
  button.addEventListener("click", () => {
    paused = !paused;
    button.setAttribute("aria-pressed", String(paused));
  });
  setTimeout(look, PAUSE);
}
