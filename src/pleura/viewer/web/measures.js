// Measures of the mask on the canvas, computed after each edit, each with the place where it is found.
import { $, createElement } from "./dom.js";
import { forEachLungVoxel, grid, niivue, state } from "./state.js";

export const SIDES = { 1: "right", 2: "left" };
const CLASS_NAMES = { hyperinflated: "Hyperinflated", normally_aerated: "Normally aerated", poorly_aerated: "Poorly aerated",
  not_aerated: "Not aerated" };

// Return the number of the aeration class, from 1, of each int16; 0 outside of all classes.
export function classTable() {
  const table = new Uint8Array(65536);
  Object.values(state.limits.aeration).forEach(([low, high], i) => table.fill(i + 1, low + 32768, high + 32768));
  return table;
}

// Measure a label map on the grid of the scan. Each side has the number of voxels, the sum of HU, the number of voxels in each
// slice along each axis ("axes"), and in each axial slice those of each aeration class ("classes"; [0] is low attenuation).
export function measure(labels = niivue.drawBitmap) {
  const { nx, ny, nz } = grid(), classOf = classTable(), { img } = niivue.back;
  const create = () => ({ voxels: 0, sum: 0, axes: [nx, ny, nz].map((n) => new Int32Array(n)), border: new Int32Array(nz),
    classes: Array.from({ length: 5 }, () => new Int32Array(nz)) });
  const sides = { 1: create(), 2: create() };
  forEachLungVoxel((label, i, j, x, y, z) => {
    const side = sides[label], hu = img[j], number = classOf[hu + 32768];
    side.voxels++;
    side.sum += hu;
    side.axes[0][x]++;
    side.axes[1][y]++;
    side.axes[2][z]++;
    if (number) side.classes[number][z]++;
    if (hu < state.limits.low_attenuation) side.classes[0][z]++;
    if (x === 0 || y === 0 || x === nx - 1 || y === ny - 1) side.border[z]++;
  }, null, labels);
  return sides;
}

const total = (counts) => counts.reduce((sum, count) => sum + count, 0);
const largest = (counts) => counts.indexOf(Math.max(...counts));
const first = (counts) => counts.findIndex((count) => count > 0);
const last = (counts) => counts.findLastIndex((count) => count > 0);

// Return the voxel at the median of the larger lung along each axis: the slices of all planes through it contain lung.
export function centreOfLungs() {
  const [right, left] = [state.measures?.[1], state.measures?.[2]];
  const lung = (right?.voxels ?? 0) >= (left?.voxels ?? 0) ? right : left;
  if (!lung?.voxels) return null;
  return lung.axes.map((counts) => {
    let below = 0;
    return counts.findIndex((count) => (below += count) * 2 >= lung.voxels);
  });
}

export function showVoxel([x, y, z]) {
  niivue.scene.crosshairPos = niivue.vox2frac([x, y, z]);
  niivue.drawScene();
  niivue.createOnLocationChange();
}

// Show the voxel of a slice that is closest to the centre of those that pass a test of label and HU, in the lung with most of them.
export function showPlace(slice, test = () => true) {
  const found = { 1: [], 2: [] };
  forEachLungVoxel((label, i, j, x, y) => { if (test(label, niivue.back.img[j])) found[label].push([x, y]); }, slice);
  const voxels = found[1].length >= found[2].length ? found[1] : found[2];
  if (!voxels.length) return;
  const [cx, cy] = [0, 1].map((axis) => total(voxels.map((voxel) => voxel[axis])) / voxels.length);
  const distance = ([x, y]) => (x - cx) ** 2 + (y - cy) ** 2;
  const [x, y] = voxels.reduce((best, voxel) => (distance(voxel) < distance(best) ? voxel : best));
  showVoxel([x, y, slice]);
}

function rows() {
  const { dx, dy, dz } = grid(), ml = (dx * dy * dz) / 1000;
  const sliceRow = (name, find, text = (side, slice) => String(slice + 1)) =>
    ({ name, text: (side) => text(side, find(side.axes[2])), slice: (side) => find(side.axes[2]), only: true });
  const area = (side, slice) => ((side.axes[2][slice] * dx * dy) / 100).toFixed(0);
  const share = (name, number, key, limits) => ({ name, key, limits, slice: (side) => largest(side.classes[number]),
    text: (side) => ((100 * total(side.classes[number])) / side.voxels).toFixed(1),
    test: (hu) => hu >= limits[0] && hu < limits[1] });
  return [
    state.spacing ? { name: "Volume, ml", text: (side) => (side.voxels * ml).toFixed(0) }
      : { name: "Voxels", text: (side) => String(side.voxels) },
    ...(state.spacing ? [sliceRow("Largest area, cm²", largest, area)] : []),
    sliceRow("Highest slice", last), sliceRow("Lowest slice", first),
    { name: "Mean, HU", text: (side) => (side.sum / side.voxels).toFixed(0), group: true },
    share(`Below ${state.limits.low_attenuation} HU, %`, 0, null, [-Infinity, state.limits.low_attenuation]),
    ...Object.entries(state.limits.aeration).map(([name, limits], i) =>
      ({ ...share(`${CLASS_NAMES[name] ?? name}, %`, i + 1, name.replaceAll("_", "-"), limits), group: i === 0 })),
  ];
}

// Return the sum of two sides.
function both({ 1: right, 2: left }) {
  const add = (a, b) => a.map((count, i) => count + b[i]);
  return { voxels: right.voxels + left.voxels, sum: right.sum + left.sum, axes: right.axes.map((counts, i) => add(counts, left.axes[i])),
    classes: right.classes.map((counts, i) => add(counts, left.classes[i])) };
}

function cell(row, side, number) {
  const element = createElement("td", { className: "number" });
  if (!side.voxels || (row.only && !number)) return element;
  const text = row.text(side);
  if (!row.slice || Number(text) === 0) return element.append(text), element;
  const slice = row.slice(side), lung = SIDES[number] ? `${SIDES[number]} lung` : "both lungs";
  const button = createElement("button", { type: "button", textContent: text, ariaLabel: `${row.name}, ${lung}: ${text}` });
  button.dataset.tooltip = `Show slice ${slice + 1}`;
  button.addEventListener("click", () => showPlace(slice, (label, hu) => (!number || label === number) && (row.test?.(hu) ?? true)));
  element.append(button);
  return element;
}

export function showMeasures() {
  const sides = state.measures;
  if (!sides) return $("measurements").replaceChildren();
  const head = createElement("tr", {}, createElement("td"), ...["Right", "Left", "Both"].map((textContent) =>
    createElement("th", { scope: "col", className: "number", textContent })));
  const body = rows().map((row) => {
    const name = createElement("th", { scope: "row" });
    if (row.key) {
      const key = createElement("span", { className: "key" });
      key.style.setProperty("--colour", `var(--${row.key})`);
      name.append(key);
      name.title = `${row.limits[0]} to ${row.limits[1]} HU`;
    }
    name.append(row.name);
    return createElement("tr", { className: row.group ? "group" : "" }, name, cell(row, sides[1], 1), cell(row, sides[2], 2),
      cell(row, both(sides), 0));
  });
  $("measurements").replaceChildren(createElement("h2", { textContent: "Measurements" }),
    createElement("div", { className: "scroll" },
      createElement("table", {}, createElement("thead", {}, head), createElement("tbody", {}, ...body))));
}
