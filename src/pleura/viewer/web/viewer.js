// The page: a list of scans, a NiiVue canvas, and tools to correct the mask of a scan.
import { listCases, openCase, updateCases } from "./cases.js";
import { labelColourMap } from "./colours.js";
import { drawsStrokes, showPosition, updateMask, updateTool, updateView, updateWindow } from "./display.js";
import { $, showError, showMessage } from "./dom.js";
import { assignComponent, discardChanges, endStroke, interpolateSlices, redo, save, swapSides, undo } from "./editing.js";
import { connectKeyboard } from "./keyboard.js";
import { pollProgress } from "./progress.js";
import { niivue, state } from "./state.js";
import { connectUploads } from "./uploads.js";

function connectControls() {
  $("filter").addEventListener("input", listCases);
  $("view").addEventListener("change", updateView);
  for (const id of ["window", "low", "high"]) $(id).addEventListener("change", updateWindow);
  for (const id of ["opacity", "contours", "reference"]) $(id).addEventListener("input", updateMask);
  for (const id of ["tool", "side", "size"]) $(id).addEventListener("change", updateTool);
  $("undo").addEventListener("click", undo);
  $("redo").addEventListener("click", redo);
  $("swap").addEventListener("click", swapSides);
  $("interpolate").addEventListener("click", interpolateSlices);
  $("discard").addEventListener("click", discardChanges);
  $("save").addEventListener("click", save);
  $("help-open").addEventListener("click", () => $("help").showModal());
  addEventListener("beforeunload", (event) => { if (state.isChanged) event.preventDefault(); });
}

// A stroke ends where the left button is released, or where the pointer leaves the canvas.
function connectCanvas() {
  let button = 0;
  $("canvas").addEventListener("pointerdown", (event) => { button = event.button; });
  niivue.onMouseUp = () => {
    if (button !== 0) return;
    if ($("tool").value === "assign") assignComponent();
    else if (drawsStrokes()) endStroke();
  };
  $("canvas").addEventListener("mouseleave", (event) => {
    if (event.buttons & 1 && button === 0 && drawsStrokes()) endStroke();
  });
  niivue.onLocationChange = showPosition;
}

connectControls();
connectUploads();
connectKeyboard();
connectCanvas();
if (!document.createElement("canvas").getContext("webgl2")) {
  showError("this browser has no WebGL 2: use a current Firefox, Chrome or Safari with hardware acceleration");
  throw new Error("no WebGL 2");
}
await niivue.attachToCanvas($("canvas"));
niivue.setRadiologicalConvention(true);
niivue.opts.multiplanarShowRender = 1;
niivue.setDrawColormap(labelColourMap(["right", "left"], [255, 255]));
window.viewer = niivue; // for tests and benchmarks
await updateCases();
await pollProgress();
if (state.index < 0 && state.cases.length) await openCase(0);
else if (state.index < 0 && $("progress").hidden) showMessage("drop a scan here: a file, a zip archive or a DICOM folder");
