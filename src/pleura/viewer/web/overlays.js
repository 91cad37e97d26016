// Overlays of labels on the scan: the reference, the aeration classes, the changed voxels.
import { NVImage } from "@niivue/niivue";
import { labelColourMap } from "./colours.js";
import { isOn } from "./controls.js";
import { $ } from "./dom.js";
import { classTable } from "./measures.js";
import { forEachLungVoxel, niivue, state } from "./state.js";

const OPACITY = { reference: 0.9, aeration: 0.6, changes: 0.75, classes: 0.5 }; // NiiVue ignores the alpha of a label
const shown = {}; // the image of each overlay on the canvas

export const isOverlayShown = (name) => name in shown;

export function hideOverlay(name) {
  if (!isOverlayShown(name)) return;
  niivue.removeVolume(shown[name]);
  delete shown[name];
}

export function forgetOverlays() {
  for (const name of Object.keys(shown)) delete shown[name];
}

// Show labels, in the order of the image, with a colour for each.
function showOverlay(name, labels, colourMap) {
  hideOverlay(name);
  const image = new NVImage();
  image.id = crypto.randomUUID?.() ?? String(Math.random());
  image.name = name;
  image.hdr = { ...niivue.back.hdr, datatypeCode: 2, numBitsPerVoxel: 8, scl_slope: 1, scl_inter: 0 };
  image.img = labels;
  image.calculateRAS();
  image.setColormapLabel(colourMap);
  Object.assign(image, { cal_min: 0, cal_max: colourMap.R.length - 1, robust_min: 0, robust_max: colourMap.R.length - 1,
    global_min: 0, global_max: colourMap.R.length - 1, opacity: OPACITY[name], nFrame4D: 1, frame4D: 0 });
  shown[name] = image;
  niivue.addVolume(image);
}

// Show the contour of a reference in each slice (1) and its differences from the mask as opened (2).
export function showReference({ img, hdr }, mask) {
  const [columns, rows] = hdr.dims.slice(1, 3), labels = new Uint8Array(img.length);
  const inside = Uint8Array.from(img, (label) => (label > 0 ? 1 : 0));
  for (let i = 0; i < inside.length; i++) {
    const column = i % columns, row = Math.floor(i / columns) % rows;
    const isInterior = column > 0 && column < columns - 1 && row > 0 && row < rows - 1 &&
      inside[i - 1] && inside[i + 1] && inside[i - columns] && inside[i + columns];
    const isDifferent = mask && inside[i] !== (mask.img[i] > 0 ? 1 : 0);
    labels[i] = inside[i] && !isInterior ? 1 : isDifferent ? 2 : 0;
  }
  showOverlay("reference", labels, labelColourMap(["reference", "difference"], [255, 130]));
}

// Show the labels of a mask with several classes, each in the colour of its class.
export function showClasses({ img }, classes) {
  showOverlay("classes", Uint8Array.from(img), labelColourMap(classes.map(([, colour]) => colour), classes.map(() => 255)));
}

export function updateClasses() {
  if (shown.classes) niivue.setOpacity(niivue.volumes.indexOf(shown.classes), $("opacity").valueAsNumber);
}

export function updateReference() {
  if (!shown.reference) return;
  niivue.setOpacity(niivue.volumes.indexOf(shown.reference), isOn("reference") ? OPACITY.reference : 0);
}

// Show the aeration class of each voxel of the mask.
export function updateAeration() {
  if (!niivue.volumes.length || !isOn("aeration")) return hideOverlay("aeration");
  const labels = new Uint8Array(niivue.back.img.length), classOf = classTable(), { img } = niivue.back;
  forEachLungVoxel((label, i, j) => { labels[j] = classOf[img[j] + 32768]; });
  const names = Object.keys(state.limits.aeration).map((name) => name.replaceAll("_", "-"));
  showOverlay("aeration", labels, labelColourMap(names, names.map(() => 255)));
}

// Show the voxels that have another label than before the correction.
export function showChanges(original) {
  const labels = new Uint8Array(niivue.back.img.length), now = niivue.drawBitmap;
  const mark = (label, i, j) => { if (original[i] !== now[i]) labels[j] = 1; };
  forEachLungVoxel(mark, null, now);
  forEachLungVoxel(mark, null, original);
  showOverlay("changes", labels, labelColourMap(["difference"], [255]));
}
