// The state that the modules of the page share.
import { DRAG_MODE, Niivue } from "@niivue/niivue";

export const niivue = new Niivue({ backColor: [0, 0, 0, 1], show3Dcrosshair: true, isRadiologicalConvention: true,
  crosshairWidthUnit: "mm", crosshairColor: [0.42, 0.76, 0.93, 0.6], crosshairGap: 6, fontColor: [0.7, 0.74, 0.78, 1],
  dragMode: DRAG_MODE.contrast, loadingText: "", maxDrawUndoBitmaps: 1, // history.js has its own
  isDepthPickMesh: true, meshThicknessOn2D: 0 });
niivue.useCustomGradientTexture = true; // no gradient is computed: see build.mjs

// ViewerState:
//   cases      the cases of the server, as listed by /api/cases
//   failures   {name, source, error} of the scans that failed
//   index      index of the selected case; -1 if none
//   mask       {index, name, draftKey, etag} of the mask on the canvas; null while it loads, or if there is none
//   spacing    whether the spacing of the scan is known
//   measures   measures of the displayed mask (see measures.js); null if there is none
//   changed    numbers of the slices that a saved correction has changed, from 0
//   limits     HU of the aeration classes and of low attenuation, and whether there is a report, as /api/limits returns them
//   edits      number of edits, which increases with each edit and each save
//   isSaving   whether a save is in progress
export const state = { cases: [], failures: [], index: -1, mask: null, spacing: false, measures: null, changed: [], limits: null,
  edits: 0, isSaving: false };

// Return the size of a voxel in mm, and the number of voxels, in the order of the axes of the drawing.
export function grid() {
  const [, nx, ny, nz] = niivue.back.dimsRAS, [, dx, dy, dz] = niivue.back.pixDimsRAS;
  return { nx, ny, nz, dx, dy, dz };
}

// Return the values of an image on the grid of the scan, in the order of the drawing.
export function inDrawingOrder({ img }) {
  const { nx, ny, nz } = grid(), { img2RASstart: start, img2RASstep: step } = niivue.back;
  const values = new img.constructor(nx * ny * nz);
  for (let z = 0, i = 0; z < nz; z++) for (let y = 0; y < ny; y++) for (let x = 0; x < nx; x++, i++)
    values[i] = img[start[0] + x * step[0] + start[1] + y * step[1] + start[2] + z * step[2]];
  return values;
}

// Call a function for each voxel of the mask, in all slices or one: its label, its index in the drawing and in the image,
// and its position. NiiVue stores a drawing in the order right-anterior-superior, and an image as the file does.
export function forEachLungVoxel(callback, slice = null, labels = niivue.drawBitmap) {
  const { nx, ny, nz } = grid(), { img2RASstart: start, img2RASstep: step } = niivue.back;
  for (let z = slice ?? 0; z < (slice === null ? nz : slice + 1); z++)
    for (let y = 0, i = z * nx * ny; y < ny; y++) {
      const first = start[0] + start[1] + start[2] + y * step[1] + z * step[2];
      for (let x = 0; x < nx; x++, i++) if (labels[i]) callback(labels[i], i, first + x * step[0], x, y, z);
    }
}
