// Corrections of the mask.
import { requestJson } from "./api.js";
import { listCases, openCase } from "./cases.js";
import { choice, setOn } from "./controls.js";
import { showError, showMessage } from "./dom.js";
import { recordEdit, removeDraft, replaceLabels, updateAfterEdit } from "./drafts.js";
import { addToHistory, currentEntry, isChanged, markSaved, moveInHistory } from "./history.js";
import { inDrawingOrder, niivue, state } from "./state.js";

// Return whether there is a mask to edit; display it if the one before the correction is displayed.
function canEdit() {
  setOn("before", false);
  return state.mask !== null;
}

export function endStroke() {
  if (addToHistory()) recordEdit();
}

function move(step) {
  if (!canEdit()) return;
  if (moveInHistory(step)) recordEdit();
}
export const undo = () => move(-1);
export const redo = () => move(1);

export function swapSides() {
  if (!canEdit()) return;
  replaceLabels(niivue.drawBitmap.map((label) => (label === 1 ? 2 : label === 2 ? 1 : label)));
  recordEdit();
}

export function interpolateSlices() {
  if (!canEdit()) return;
  const { img, dims, dimsRAS } = niivue.back;
  // NiiVue compares the drawing, which is in RAS order, with these two, which are in file order.
  [niivue.back.img, niivue.back.dims] = [inDrawingOrder(niivue.back), dimsRAS];
  try { niivue.interpolateMaskSlices(); } finally { [niivue.back.img, niivue.back.dims] = [img, dims]; }
  if (addToHistory()) recordEdit();
}

// Set the connected component of the mask at the crosshair to the selected side.
export function assignComponent() {
  if (!canEdit()) return;
  const [columns, rows] = niivue.back.dimsRAS.slice(1, 3), slice = columns * rows;
  const [x, y, z] = niivue.frac2vox(niivue.scene.crosshairPos).map(Math.round);
  const side = Number(choice("side")), labels = niivue.drawBitmap.slice(), visited = new Uint8Array(labels.length);
  const queue = [x + y * columns + z * slice];
  if (!labels[queue[0]]) return showMessage("there is no mask at this position");
  while (queue.length) {
    const voxel = queue.pop();
    if (visited[voxel] || !labels[voxel]) continue;
    visited[voxel] = 1;
    labels[voxel] = side;
    const column = voxel % columns, row = Math.floor(voxel / columns) % rows;
    if (column > 0) queue.push(voxel - 1);
    if (column < columns - 1) queue.push(voxel + 1);
    if (row > 0) queue.push(voxel - columns);
    if (row < rows - 1) queue.push(voxel + columns);
    if (voxel >= slice) queue.push(voxel - slice);
    if (voxel + slice < labels.length) queue.push(voxel + slice);
  }
  replaceLabels(labels);
  recordEdit();
}

export function discardChanges() {
  if (!state.mask || !isChanged() || !confirm("Discard the unsaved changes?")) return;
  removeDraft(state.mask);
  openCase(state.mask.index, { confirmed: true });
}

export async function save() {
  if (state.isSaving || !canEdit() || !isChanged()) return;
  const { mask, edits } = state, entry = currentEntry();
  state.isSaving = true;
  try {
    const body = await niivue.saveImage({ filename: "", isSaveDrawing: true });
    const options = { method: "PUT", body, headers: { "If-Match": mask.etag } };
    const record = await requestJson(`/api/cases/${mask.index}/corrected`, options);
    const changes = Object.entries(record.changes)
      .map(([side, { ml, voxels }]) => `${side} ${ml === null ? `${voxels} voxels` : `${ml} ml`}`);
    showMessage(`saved ${record.corrected}; changed: ${changes.join(", ")}`);
    mask.etag = record.etag;
    state.cases[mask.index].is_corrected = true;
    if (state.mask === mask) {
      state.changed = record.changed_slices;
      markSaved(entry);
    }
    if (edits === state.edits) {
      removeDraft(mask);
      updateAfterEdit();
    } else recordEdit(); // edited while it was saved
    listCases();
  } catch (error) { showError(`the mask was not saved: ${error.message}`); }
  state.isSaving = false;
}
