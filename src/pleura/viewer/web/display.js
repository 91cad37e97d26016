// Display of the scan and its masks: view, intensity window, opacity, reference, tool settings.
import { SLICE_TYPE } from "@niivue/niivue";
import { labelColourMap } from "./colours.js";
import { $ } from "./dom.js";
import { niivue, state } from "./state.js";

const WINDOWS = { lung: [-1350, 150], mediastinum: [-160, 240], bone: [-450, 1050] }; // HU
const VIEWS = { multi: SLICE_TYPE.MULTIPLANAR, axial: SLICE_TYPE.AXIAL, coronal: SLICE_TYPE.CORONAL,
  sagittal: SLICE_TYPE.SAGITTAL, render: SLICE_TYPE.RENDER };
const STROKE_TOOLS = ["brush", "eraser", "outline", "grow"];

export function updateView() { niivue.setSliceType(VIEWS[$("view").value]); }

// Return the selected window in HU; null if the entered limits are not in order.
export function selectedWindow() {
  const [low, high] = WINDOWS[$("window").value] ?? [Number($("low").value), Number($("high").value)];
  return low < high ? [low, high] : null;
}
export const defaultWindow = WINDOWS.lung;

export function updateWindow() {
  $("custom-window").hidden = $("window").value !== "custom";
  const [scan] = niivue.volumes, limits = selectedWindow();
  if (!scan || !limits || (scan.cal_min === limits[0] && scan.cal_max === limits[1])) return;
  [scan.cal_min, scan.cal_max] = limits;
  niivue.updateGLVolume();
}

export function updateMask() {
  niivue.setDrawOpacity($("opacity").valueAsNumber);
  niivue.drawRimOpacity = $("contours").checked ? 1 : -1;
  if (niivue.volumes.length > 1) niivue.setOpacity(1, $("reference").checked ? 0.9 : 0);
  niivue.drawScene();
}

export function drawsStrokes() { return STROKE_TOOLS.includes($("tool").value); }

export function updateTool() {
  const tool = $("tool").value;
  niivue.opts.clickToSegment = tool === "grow";
  niivue.opts.clickToSegmentIs2D = true;
  niivue.opts.penSize = $("size").valueAsNumber || 1;
  niivue.setDrawingEnabled(state.mask !== null && drawsStrokes());
  if (state.mask === null) return;
  niivue.setPenValue(tool === "eraser" ? 0 : Number($("side").value), tool === "outline");
}

// Replace a reference by its contour in each slice (1) and its differences from the mask as opened (2).
export function showReferenceContour(reference, mask) {
  const [columns, rows] = reference.hdr.dims.slice(1, 3);
  const inside = Uint8Array.from(reference.img, (label) => (label > 0 ? 1 : 0));
  for (let i = 0; i < inside.length; i++) {
    const column = i % columns, row = Math.floor(i / columns) % rows;
    const isInterior = column > 0 && column < columns - 1 && row > 0 && row < rows - 1 &&
      inside[i - 1] && inside[i + 1] && inside[i - columns] && inside[i + columns];
    const isDifferent = mask && inside[i] !== (mask.img[i] > 0 ? 1 : 0);
    reference.img[i] = inside[i] && !isInterior ? 1 : isDifferent ? 2 : 0;
  }
  reference.setColormapLabel(labelColourMap(["reference", "difference"], [255, 130]));
  [reference.cal_min, reference.cal_max] = [0, 2];
}

// Directions of the crosshair in voxels: through the slices, to the left and up on the screen.
const DIRECTIONS = { axial: { through: [0, 0, 1], left: [1, 0, 0], up: [0, 1, 0] },
  coronal: { through: [0, 1, 0], left: [1, 0, 0], up: [0, 0, 1] },
  sagittal: { through: [1, 0, 0], left: [0, -1, 0], up: [0, 0, 1] } };

export function moveCrosshair(direction, step = 1) {
  const directions = DIRECTIONS[$("view").value] ?? DIRECTIONS.axial;
  niivue.moveCrosshairInVox(...directions[direction].map((component) => component * step));
}

export function showPosition({ mm, vox, values }) {
  const [x, y, z] = mm;
  $("position").textContent = `${(-x).toFixed(1)}, ${(-y).toFixed(1)}, ${z.toFixed(1)} mm (LPS); ` +
    `voxel ${vox.map((v) => Math.round(v)).join(", ")}; ${Math.round(values[0]?.value ?? NaN)} HU`;
}
