// Drafts: unsaved changes in the browser's storage, which survive a crash or a reload of the page.
import { isOn } from "./controls.js";
import { showCorrection, updateChanges } from "./correction.js";
import { $, createIcon, showError, showMessage } from "./dom.js";
import { addToHistory, canMove, isChanged } from "./history.js";
import { measure, showMeasures } from "./measures.js";
import { updateAeration } from "./overlays.js";
import { updateScrubber } from "./scrubber.js";
import { niivue, state } from "./state.js";
import { updateSurfaces } from "./surface.js";

const PREFIX = "pleura-draft:"; // and a key of the server, which reveals no name

// Show what depends on the mask: its measures, surfaces and overlays, and whether it is saved.
export function updateAfterEdit() {
  state.measures = state.mask ? measure() : null;
  showMeasures();
  updateScrubber();
  updateSurfaces(true);
  updateAeration();
  if (isOn("changes")) updateChanges();
  showCorrection();
  showSaveState();
}

export function showSaveState() {
  const changed = state.mask !== null && isChanged(), isCorrected = state.mask !== null && state.cases[state.mask.index].is_corrected;
  $("save").disabled = $("discard").disabled = !changed;
  $("undo").disabled = state.mask === null || !canMove(-1);
  $("redo").disabled = state.mask === null || !canMove(1);
  $("save-state").hidden = !changed && !isCorrected;
  $("save-state").className = `badge ${changed ? "warning" : "success"}`;
  $("save-state").replaceChildren(createIcon(changed ? "warning" : "check"), changed ? "Not saved" : "Corrected");
}

async function transform(bytes, stream) {
  return new Uint8Array(await new Response(new Blob([bytes]).stream().pipeThrough(stream)).arrayBuffer());
}

// Register an edit of the mask, and store it as a draft; without changes there is no draft.
export async function recordEdit() {
  if (!state.mask) return;
  updateAfterEdit();
  if (!isChanged()) return removeDraft(state.mask);
  const { draftKey, etag } = state.mask, edit = ++state.edits;
  const bytes = await transform(niivue.drawBitmap, new CompressionStream("gzip"));
  if (edit !== state.edits) return; // there is a later edit, or the mask was saved
  let text = "";
  for (let i = 0; i < bytes.length; i += 32768) text += String.fromCharCode(...bytes.subarray(i, i + 32768));
  try { localStorage.setItem(PREFIX + draftKey, JSON.stringify({ etag, labels: btoa(text) })); }
  catch { showError("the mask is too large to keep unsaved changes in the browser: save often"); }
}

export async function restoreDraft() {
  const { mask } = state;
  const draft = mask && JSON.parse(localStorage.getItem(PREFIX + mask.draftKey) ?? "null");
  if (!draft) return;
  if (draft.etag !== mask.etag &&
    !confirm("You have unsaved changes of this mask, and it was saved in another window since. Restore your changes?"))
    return showMessage("your unsaved changes are still kept in this browser");
  const bytes = Uint8Array.from(atob(draft.labels), (character) => character.charCodeAt(0));
  const labels = await transform(bytes, new DecompressionStream("gzip"));
  if (state.mask !== mask || labels.length !== niivue.drawBitmap.length) return;
  replaceLabels(labels);
  if (!isChanged()) return removeDraft(mask);
  updateAfterEdit();
  showMessage("unsaved changes were restored");
}

export function removeDraft(mask) {
  state.edits++; // a draft that is being compressed is not stored
  localStorage.removeItem(PREFIX + mask.draftKey);
}

export function replaceLabels(labels) {
  niivue.drawBitmap.set(labels);
  niivue.refreshDrawing(true);
  addToHistory();
}
