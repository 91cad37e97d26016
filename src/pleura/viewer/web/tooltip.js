// Tooltips: the name and the shortcut of a control, on hover and on keyboard focus. Escape hides them.
import { $, createElement } from "./dom.js";

const DELAY = 400; // ms
const SELECTOR = "[data-tooltip], button[aria-label], a[aria-label]";
let timer = 0;

function show(target) {
  const keys = (target.getAttribute("aria-keyshortcuts") ?? "").replace("Control", "Ctrl");
  $("tooltip").replaceChildren(target.dataset.tooltip ?? target.ariaLabel, ...(keys ? [createElement("kbd", { textContent: keys })] : []));
  $("tooltip").showPopover();
  const box = target.getBoundingClientRect(), { width, height } = $("tooltip").getBoundingClientRect();
  const isBeside = target.closest("#tools") && box.right + width + 8 < innerWidth && innerWidth > 960;
  const below = box.bottom + 6 + height < innerHeight ? box.bottom + 4 : box.top - height - 4;
  const left = isBeside ? box.right + 6 : Math.min(Math.max(4, box.left + (box.width - width) / 2), innerWidth - width - 4);
  $("tooltip").style.left = `${left}px`;
  $("tooltip").style.top = `${isBeside ? box.top + (box.height - height) / 2 : below}px`;
}

function hide() {
  clearTimeout(timer);
  $("tooltip").hidePopover();
}

export function connectTooltips() {
  const controlOf = (event) => event.target.closest?.(SELECTOR);
  addEventListener("pointerover", (event) => {
    const target = controlOf(event);
    if (event.pointerType !== "mouse" || event.target.closest?.("#tooltip")) return;
    clearTimeout(timer);
    timer = setTimeout(() => (target ? show(target) : hide()), target ? DELAY : 100);
  });
  addEventListener("focusin", (event) => { if (controlOf(event)?.matches(":focus-visible")) show(controlOf(event)); });
  for (const type of ["focusout", "pointerdown", "wheel"]) addEventListener(type, hide, { passive: true });
  addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); }, true);
}
