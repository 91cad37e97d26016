// Groups of buttons of which one is selected, and buttons that are on or off.
import { $ } from "./dom.js";

export function choice(id) {
  return $(id).querySelector("[aria-pressed=true]")?.value;
}

export function choose(id, value) {
  for (const button of $(id).querySelectorAll("button")) button.setAttribute("aria-pressed", String(button.value === value));
  $(id).dispatchEvent(new Event("change"));
}

export function isOn(id) {
  return $(id).getAttribute("aria-pressed") === "true";
}

export function setOn(id, on) {
  if (isOn(id) === on) return;
  $(id).setAttribute("aria-pressed", String(on));
  $(id).dispatchEvent(new Event("change"));
}

export function connectChoice(id, initial, onChange) {
  choose(id, initial);
  for (const button of $(id).querySelectorAll("button")) button.addEventListener("click", () => choose(id, button.value));
  $(id).addEventListener("change", onChange);
}

export function connectToggle(id, onChange) {
  $(id).addEventListener("click", () => setOn(id, !isOn(id)));
  $(id).addEventListener("change", onChange);
}
