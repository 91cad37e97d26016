// Keyboard shortcuts.
import { openCase } from "./cases.js";
import { moveCrosshair } from "./display.js";
import { $ } from "./dom.js";
import { redo, save, undo } from "./editing.js";
import { state } from "./state.js";

function select(id, value) {
  $(id).value = value;
  $(id).dispatchEvent(new Event("change"));
}

const SHORTCUTS = {
  j: () => openCase(Math.min(state.index + 1, state.cases.length - 1)), k: () => openCase(Math.max(state.index - 1, 0)),
  a: () => select("view", "axial"), c: () => select("view", "coronal"), s: () => select("view", "sagittal"),
  m: () => select("view", "multi"), v: () => select("view", "render"),
  1: () => select("window", "lung"), 2: () => select("window", "mediastinum"), 3: () => select("window", "bone"),
  4: () => select("window", "custom"), o: () => $("contours").click(), r: () => $("reference").click(),
  b: () => select("tool", "brush"), e: () => select("tool", "eraser"), f: () => select("tool", "outline"),
  g: () => select("tool", "grow"), p: () => select("tool", "assign"), l: () => select("tool", "none"),
  x: () => select("side", $("side").value === "1" ? "2" : "1"), "?": () => $("help").showModal(),
  ArrowUp: (shift) => moveCrosshair(shift ? "up" : "through"),
  ArrowDown: (shift) => moveCrosshair(shift ? "up" : "through", -1),
  ArrowLeft: (shift) => shift && moveCrosshair("left"), ArrowRight: (shift) => shift && moveCrosshair("left", -1),
};
const CONTROL_SHORTCUTS = { z: undo, y: redo, s: save };

export function connectKeyboard() {
  document.addEventListener("keydown", (event) => {
    const isControl = event.ctrlKey || event.metaKey;
    if (isControl && CONTROL_SHORTCUTS[event.key.toLowerCase()]) {
      event.preventDefault();
      CONTROL_SHORTCUTS[event.key.toLowerCase()]();
      return;
    }
    if (isControl || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
    if (SHORTCUTS[event.key]) { event.preventDefault(); SHORTCUTS[event.key](event.shiftKey); }
  }, true);
  // NiiVue has other shortcuts on the canvas.
  for (const type of ["keydown", "keyup"])
    $("canvas").addEventListener(type, (event) => event.stopImmediatePropagation(), true);
}
