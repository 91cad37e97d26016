// The state that the modules of the page share.
import { DRAG_MODE, Niivue } from "@niivue/niivue";

export const niivue = new Niivue({ backColor: [0, 0, 0, 1], show3Dcrosshair: true, isRadiologicalConvention: true,
  crosshairWidth: 0.5, dragMode: DRAG_MODE.contrast, loadingText: "" });
niivue.useCustomGradientTexture = true; // no gradient is computed: see build.mjs

// ViewerState:
//   cases      the cases of the server, as listed by /api/cases
//   index      index of the selected case; -1 if none
//   mask       {index, name, draftKey, etag} of the mask on the canvas; null while it loads, or if there is none
//   isChanged  whether the mask has unsaved changes
//   edits      number of edits, which increases with each edit and each save
//   isSaving   whether a save is in progress
//   redoStack  label maps that redo restores
export const state = { cases: [], index: -1, mask: null, isChanged: false, edits: 0, isSaving: false, redoStack: [] };
