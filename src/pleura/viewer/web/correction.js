// The mask before the correction, beside the mask after it.
import { requestVolume } from "./api.js";
import { choose, isOn, setOn } from "./controls.js";
import { $, createElement, showError } from "./dom.js";
import { showCaption, updateMask } from "./display.js";
import { isChanged } from "./history.js";
import { SIDES, measure } from "./measures.js";
import { hideOverlay, showChanges } from "./overlays.js";
import { forEachLungVoxel, grid, inDrawingOrder, niivue, state } from "./state.js";

let original = null, after = null; // label maps in the order of the drawing

export function forgetOriginal() {
  [original, after] = [null, null];
  for (const id of ["before", "changes"]) setOn(id, false);
}

// Return the mask of the model; the server keeps it beside the corrected mask.
async function requestOriginal() {
  if (original) return original;
  const { index } = state.mask, { image } = await requestVolume(index, "original");
  const labels = inDrawingOrder(image);
  if (state.mask?.index === index) original = labels;
  return labels;
}

export const isBeforeShown = () => after !== null;

export async function updateBefore() {
  if (isOn("before") === isBeforeShown() || !state.mask) return;
  try {
    if (isOn("before")) {
      choose("tool", "none");
      const labels = await requestOriginal();
      if (!isOn("before") || isBeforeShown()) return;
      after = niivue.drawBitmap.slice();
      niivue.drawBitmap.set(labels);
    } else {
      niivue.drawBitmap.set(after);
      after = null;
    }
    niivue.refreshDrawing(true);
  } catch (error) { showError(`the mask before the correction cannot be shown: ${error.message}`); }
  showCaption();
}

export async function updateChanges() {
  if (!state.mask || !niivue.drawBitmap) return;
  try {
    if (isOn("changes")) {
      const labels = await requestOriginal();
      if (isOn("changes") && !isBeforeShown()) showChanges(labels);
    } else hideOverlay("changes");
  } catch (error) { showError(`the changes cannot be shown: ${error.message}`); }
  updateMask();
}

// Show the volumes before and after the correction; nothing if the mask is as the model made it.
export async function showCorrection() {
  const opened = state.cases[state.index];
  $("correction").hidden = !state.mask || (!opened?.is_corrected && !isChanged());
  if ($("correction").hidden || !state.measures) return;
  const mask = state.mask, labels = await requestOriginal().catch(() => null);
  if (!labels || mask !== state.mask) return;
  const before = measure(labels), { dx, dy, dz } = grid(), unit = state.spacing ? (dx * dy * dz) / 1000 : 1;
  const changed = countChanges(labels);
  const size = (voxels) => (voxels * unit).toFixed(state.spacing ? 1 : 0);
  const rows = Object.entries(SIDES).map(([label, side]) => createElement("tr", {},
    createElement("th", { scope: "row", textContent: side }),
    ...[before[label].voxels, state.measures[label].voxels, changed[label]].map((voxels) =>
      createElement("td", { className: "number", textContent: size(voxels) }))));
  const names = ["", "Before", "After", "Changed"].map((textContent, i) =>
    createElement(i ? "th" : "td", { textContent, className: "number", ...(i ? { scope: "col" } : {}) }));
  $("correction").replaceChildren(createElement("h2", { textContent: `Correction, ${state.spacing ? "ml" : "voxels"}` }),
    createElement("table", {}, createElement("thead", {}, createElement("tr", {}, ...names)), createElement("tbody", {}, ...rows)));
}

// Return the number of voxels of each side that were added or removed.
function countChanges(labels) {
  const counts = { 1: 0, 2: 0 }, now = isBeforeShown() ? after : niivue.drawBitmap;
  forEachLungVoxel((label, i) => { if (now[i] !== label) counts[label]++; }, null, labels);
  forEachLungVoxel((label, i) => { if (labels[i] !== label) counts[label]++; }, null, now);
  return counts;
}
