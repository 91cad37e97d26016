// Display of the scan and its mask: layout, intensity window, opacity, tool settings.
import { SLICE_TYPE } from "@niivue/niivue";
import { choice, isOn, setOn } from "./controls.js";
import { $ } from "./dom.js";
import { centreOfLungs, showVoxel } from "./measures.js";
import { isOverlayShown, updateClasses } from "./overlays.js";
import { updateScrubber, updateSlice } from "./scrubber.js";
import { grid, niivue, state } from "./state.js";
import { updateSurfaces } from "./surface.js";

const WINDOWS = { lung: [-1350, 150], mediastinum: [-160, 240], bone: [-450, 1050] }; // HU
const VIEWS = { multi: SLICE_TYPE.MULTIPLANAR, axial: SLICE_TYPE.AXIAL, coronal: SLICE_TYPE.CORONAL,
  sagittal: SLICE_TYPE.SAGITTAL, render: SLICE_TYPE.RENDER };
const STROKE_TOOLS = ["brush", "eraser", "outline", "grow"];
const tile = (sliceType, ...position) => ({ sliceType, position });
const WIDE = [tile(SLICE_TYPE.AXIAL, 0, 0, 0.498, 0.498), tile(SLICE_TYPE.CORONAL, 0.502, 0, 0.498, 0.498),
  tile(SLICE_TYPE.SAGITTAL, 0, 0.502, 0.498, 0.498), tile(SLICE_TYPE.RENDER, 0.502, 0.502, 0.498, 0.498)];
const TALL = [tile(SLICE_TYPE.AXIAL, 0, 0, 1, 0.64), tile(SLICE_TYPE.CORONAL, 0, 0.645, 0.498, 0.355),
  tile(SLICE_TYPE.SAGITTAL, 0.502, 0.645, 0.498, 0.355)];
const CROSSHAIR = 1; // pixels

export function updateView() {
  const view = choice("view"), { width, height } = $("stage").getBoundingClientRect();
  niivue.opts.sliceType = VIEWS[view];
  niivue.customLayout = view === "multi" ? (height > 1.2 * width ? TALL : WIDE) : [];
  if (niivue.volumes.length) {
    const { nx, ny, dx, dy } = grid(), pixels = Math.min(width, height) * (view === "multi" ? 0.5 : 1);
    niivue.setCrosshairWidth((CROSSHAIR * Math.max(nx * dx, ny * dy)) / pixels); // mm
  }
  updateSurfaces();
  niivue.drawScene();
  updateScrubber();
}

// Show the planes that cross the larger lung at its centre, without zoom.
export function resetView() {
  if (!niivue.volumes.length) return;
  niivue.scene.pan2Dxyzmm = [0, 0, 0, 1];
  niivue.scene.volScaleMultiplier = 1;
  [niivue.scene.renderAzimuth, niivue.scene.renderElevation] = [160, 12];
  const centre = centreOfLungs();
  if (centre) return showVoxel(centre);
  niivue.scene.crosshairPos = [0.5, 0.5, 0.5];
  niivue.drawScene();
  niivue.createOnLocationChange();
}

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
  showCaption();
}

// Enter the window that was set on the canvas by dragging.
export function showDraggedWindow({ cal_min: low, cal_max: high }) {
  [$("low").value, $("high").value] = [Math.round(low), Math.round(high)];
  $("window").value = "custom";
  $("custom-window").hidden = false;
  showCaption();
}

export function updateMask() {
  niivue.setDrawOpacity(isOverlayShown("aeration") ? 0.001 : $("opacity").valueAsNumber); // of 0, NiiVue hides the contours also
  updateClasses();
  niivue.drawRimOpacity = isOn("contours") ? 1 : -1;
  niivue.drawScene();
}

export function drawsStrokes() { return STROKE_TOOLS.includes(choice("tool")); }

export function updateTool() {
  const tool = choice("tool");
  if (tool !== "none") setOn("before", false); // the mask before the correction cannot be edited
  niivue.opts.clickToSegment = tool === "grow";
  niivue.opts.clickToSegmentIs2D = true;
  niivue.opts.penSize = $("size").valueAsNumber || 1;
  niivue.setDrawingEnabled(state.mask !== null && drawsStrokes());
  $("stage").dataset.tool = tool;
  if (state.mask === null) return;
  niivue.setPenValue(tool === "eraser" ? 0 : Number(choice("side")), tool === "outline");
}

// Directions of the crosshair in voxels: through the slices, to the left and up on the screen.
const DIRECTIONS = { axial: { through: [0, 0, 1], left: [1, 0, 0], up: [0, 1, 0] },
  coronal: { through: [0, 1, 0], left: [1, 0, 0], up: [0, 0, 1] },
  sagittal: { through: [1, 0, 0], left: [0, -1, 0], up: [0, 0, 1] } };

export function moveCrosshair(direction, step = 1) {
  const directions = DIRECTIONS[choice("view")] ?? DIRECTIONS.axial;
  niivue.moveCrosshairInVox(...directions[direction].map((component) => component * step));
}

export function showPosition({ mm, vox, values }) {
  const [x, y, z] = mm;
  $("position").textContent = `${(-x).toFixed(1)}, ${(-y).toFixed(1)}, ${z.toFixed(1)} mm (LPS); ` +
    `voxel ${vox.map((v) => Math.round(v)).join(", ")}; ${Math.round(values[0]?.value ?? NaN)} HU`;
  updateSlice();
}

export function showCaption() {
  const opened = state.cases[state.index], [scan] = niivue.volumes;
  const shown = isOn("before") ? "\nmask before the correction" : "";
  $("caption").textContent = opened && scan ? `${opened.name}\n${scan.cal_min} to ${scan.cal_max} HU${shown}` : "";
}
