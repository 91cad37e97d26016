// Keyboard shortcuts. Those of a single key can be switched off (WCAG 2.1.4).
import { openCase } from "./cases.js";
import { choice, choose } from "./controls.js";
import { moveCrosshair, resetView } from "./display.js";
import { $ } from "./dom.js";
import { redo, save, undo } from "./editing.js";
import { state } from "./state.js";

const SETTING = "pleura-single-key-shortcuts";

function select(id, value) {
  $(id).value = value;
  $(id).dispatchEvent(new Event("change"));
}
const changeSize = (step) => select("size", Math.min(40, Math.max(1, $("size").valueAsNumber + step)));
const click = (id) => () => { if (!$(id).hidden) $(id).click(); };
const view = (value) => () => choose("view", value);
const tool = (value) => () => choose("tool", value);
const intensityWindow = (value) => () => select("window", value);

const SHORTCUTS = {
  j: () => openCase(Math.min(state.index + 1, state.cases.length - 1)), k: () => openCase(Math.max(state.index - 1, 0)),
  a: view("axial"), c: view("coronal"), s: view("sagittal"), m: view("multi"), v: view("render"), 0: resetView,
  1: intensityWindow("lung"), 2: intensityWindow("mediastinum"), 3: intensityWindow("bone"), 4: intensityWindow("custom"),
  o: click("contours"), r: click("reference"), n: click("aeration"), d: click("before"), h: click("changes"),
  b: tool("brush"), e: tool("eraser"), f: tool("outline"), g: tool("grow"), p: tool("assign"), l: tool("none"),
  x: () => choose("side", choice("side") === "1" ? "2" : "1"), "[": () => changeSize(-1), "]": () => changeSize(1),
  "?": () => $("help").showModal(),
};
const ARROWS = {
  ArrowUp: (shift) => moveCrosshair(shift ? "up" : "through"), ArrowDown: (shift) => moveCrosshair(shift ? "up" : "through", -1),
  ArrowLeft: (shift) => shift && moveCrosshair("left"), ArrowRight: (shift) => shift && moveCrosshair("left", -1),
};
const CONTROL_SHORTCUTS = { z: undo, y: redo, s: save };

function shortcutOf({ key, ctrlKey, metaKey, altKey, target }) {
  if (ctrlKey || metaKey) return CONTROL_SHORTCUTS[key.toLowerCase()];
  if (altKey || $("help").open || target.matches("select, textarea, input:not([type=range], [type=checkbox])")) return undefined;
  if (target.type !== "range" && ARROWS[key]) return ARROWS[key];
  return $("single-keys").checked ? SHORTCUTS[key] : undefined;
}

export function connectKeyboard() {
  document.addEventListener("keydown", (event) => {
    const shortcut = shortcutOf(event);
    if (!shortcut) return;
    event.preventDefault();
    shortcut(event.shiftKey);
  }, true);
  // NiiVue has other shortcuts on the canvas.
  for (const type of ["keydown", "keyup"])
    $("canvas").addEventListener(type, (event) => event.stopImmediatePropagation(), true);
  $("single-keys").checked = localStorage.getItem(SETTING) !== "off";
  $("single-keys").addEventListener("change", () => {
    if ($("single-keys").checked) localStorage.removeItem(SETTING);
    else localStorage.setItem(SETTING, "off");
  });
}
