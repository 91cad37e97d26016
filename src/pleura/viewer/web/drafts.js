// Drafts: unsaved changes in the browser's storage, which survive a crash or a reload of the page.
import { $, showError, showMessage } from "./dom.js";
import { niivue, state } from "./state.js";

const PREFIX = "pleura-draft:"; // and a key of the server, which reveals no name

export function setChanged(isChanged) {
  state.isChanged = isChanged;
  $("save").disabled = $("discard").disabled = !isChanged;
}

async function transform(bytes, stream) {
  return new Uint8Array(await new Response(new Blob([bytes]).stream().pipeThrough(stream)).arrayBuffer());
}

// Register an edit of the mask, and store it as a draft.
export async function recordEdit() {
  if (!state.mask) return;
  setChanged(true);
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
  setChanged(true);
  showMessage("unsaved changes were restored");
}

export function removeDraft(mask) {
  state.edits++; // a draft that is being compressed is not stored
  localStorage.removeItem(PREFIX + mask.draftKey);
}

export function replaceLabels(labels) {
  niivue.drawBitmap.set(labels);
  niivue.refreshDrawing(true);
  niivue.drawAddUndoBitmap();
}
