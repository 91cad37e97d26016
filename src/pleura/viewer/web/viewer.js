// The page: a list of scans, a NiiVue canvas, and tools to correct the mask of a scan.
import { requestJson } from "./api.js";
import { listCases, openCase, updateCases } from "./cases.js";
import { labelColourMap } from "./colours.js";
import { choice, connectChoice, connectToggle } from "./controls.js";
import { updateBefore, updateChanges } from "./correction.js";
import { drawsStrokes, resetView, showDraggedWindow, showPosition, updateMask, updateTool, updateView, updateWindow } from "./display.js";
import { $, addIcons, showError } from "./dom.js";
import { assignComponent, discardChanges, endStroke, interpolateSlices, redo, save, swapSides, undo } from "./editing.js";
import { isChanged } from "./history.js";
import { connectKeyboard } from "./keyboard.js";
import { updateAeration, updateReference } from "./overlays.js";
import { pollProgress } from "./progress.js";
import { connectScrubber } from "./scrubber.js";
import { niivue, state } from "./state.js";
import { connectSurfaces } from "./surface.js";
import { connectTooltips } from "./tooltip.js";
import { connectUploads } from "./uploads.js";

function connectControls() {
  connectChoice("view", "multi", updateView);
  connectChoice("tool", "none", updateTool);
  connectChoice("side", "1", updateTool);
  connectToggle("contours", updateMask);
  connectToggle("reference", updateReference);
  connectToggle("aeration", () => { updateAeration(); updateMask(); });
  connectToggle("before", updateBefore);
  connectToggle("changes", updateChanges);
  const clicks = { reset: resetView, undo, redo, swap: swapSides, interpolate: interpolateSlices, discard: discardChanges, save,
    "help-open": () => $("help").showModal() };
  for (const [id, action] of Object.entries(clicks)) $(id).addEventListener("click", () => action());
  $("filter").addEventListener("input", listCases);
  for (const id of ["window", "low", "high"]) $(id).addEventListener("change", updateWindow);
  $("opacity").addEventListener("input", updateMask);
  $("size").addEventListener("change", updateTool);
  addEventListener("beforeunload", (event) => { if (state.mask && isChanged()) event.preventDefault(); });
}

// A stroke ends where the left button is released, or where the pointer leaves the canvas.
function connectCanvas() {
  let button = 0;
  $("canvas").addEventListener("pointerdown", (event) => { button = event.button; });
  niivue.onMouseUp = () => {
    if (button !== 0) return;
    if (choice("tool") === "assign") assignComponent();
    else if (drawsStrokes()) endStroke();
  };
  $("canvas").addEventListener("mouseleave", (event) => {
    if (event.buttons & 1 && button === 0 && drawsStrokes()) endStroke();
  });
  niivue.onLocationChange = showPosition;
  niivue.onIntensityChange = showDraggedWindow;
  new ResizeObserver(updateView).observe($("stage"));
}

// Reports link to a scan by its name: #scan=NAME.
function linkedCase() {
  const name = new URLSearchParams(location.hash.slice(1)).get("scan");
  return state.cases.findIndex((item) => item.name === name);
}
addEventListener("hashchange", () => { if (linkedCase() >= 0) openCase(linkedCase()); });

addIcons();
connectControls();
connectUploads();
connectKeyboard();
connectTooltips();
if (!document.createElement("canvas").getContext("webgl2")) {
  showError("this browser has no WebGL 2: use a current Firefox, Chrome or Safari with hardware acceleration");
  throw new Error("no WebGL 2");
}
await niivue.attachToCanvas($("canvas"));
niivue.setRadiologicalConvention(true);
niivue.setDrawColormap(labelColourMap(["right", "left"], [255, 255]));
connectSurfaces();
connectScrubber();
connectCanvas();
window.viewer = niivue; // for tests and benchmarks
state.limits = await requestJson("/api/limits");
$("report-link").hidden = !state.limits.has_report;
await updateCases();
await pollProgress();
if (state.index < 0 && state.cases.length) await openCase(Math.max(0, linkedCase()));
else if (state.index < 0 && $("progress").hidden) $("empty").hidden = false;
