// The slider of slices, with the extent of the lungs, flags and corrected slices.
import { choice } from "./controls.js";
import { $, createElement, createIcon, createSvg } from "./dom.js";
import { SIDES, showPlace, showVoxel } from "./measures.js";
import { grid, niivue, state } from "./state.js";

const PLANES = { coronal: 1, sagittal: 0 };
const NAMES = ["Sagittal slice", "Coronal slice", "Axial slice"];
const axis = () => PLANES[choice("view")] ?? 2;
const voxel = () => niivue.frac2vox(niivue.scene.crosshairPos).map(Math.round);

// Return the slices, from 0, that a flag concerns.
export function slicesOfFlag(name, message, sides) {
  const { nz } = grid(), border = Array.from(sides[1].border, (count, z) => count + sides[2].border[z]);
  const numbers = /between slices (\d+) and (\d+)/.exec(message)?.slice(1).map((number) => Number(number) - 1);
  const slices = {
    truncated: [...(message.includes("lowest") ? [0] : []), ...(message.includes("highest") ? [nz - 1] : [])],
    border: [border.indexOf(Math.max(...border))].filter((z) => border[z]),
    slices: numbers ?? [],
  };
  return slices[name] ?? [];
}

export function showFlags(flags, titles) {
  $("flags").replaceChildren(...Object.entries(flags).map(([name, message]) => {
    const slices = state.measures ? slicesOfFlag(name, message, state.measures) : [];
    const buttons = slices.map((slice) => {
      const button = createElement("button", { type: "button", textContent: `Show slice ${slice + 1}` });
      button.addEventListener("click", () => {
        const [x, y] = voxel();
        showVoxel([x, y, slice]);
        showPlace(slice);
      });
      return button;
    });
    const text = createElement("div", {}, createElement("strong", { textContent: titles[name] }), message,
      createElement("div", { className: "row" }, ...buttons));
    return createElement("div", { className: "notice warning" }, createIcon("warning"), text);
  }));
}

export function updateScrubber() {
  if (!niivue.volumes.length) return;
  const plane = axis(), { nx, ny, nz } = grid(), n = [nx, ny, nz][plane];
  $("scrubber").hidden = n < 2;
  $("slice-label").textContent = NAMES[plane];
  $("slice").max = n;
  const sides = state.measures, marks = [];
  if (sides) {
    const counts = [1, 2].map((side) => sides[side].axes[plane]);
    const most = Math.max(1, ...counts[0].map((count, i) => count + counts[1][i]));
    const inside = [...counts[0].keys()].filter((i) => counts[0][i] + counts[1][i] > 0);
    if (inside.length) marks.push(createSvg("rect", { class: "extent", x: inside[0] + 0.5, width: inside.at(-1) - inside[0], y: 0,
      height: 100 }));
    const below = new Float32Array(n);
    counts.forEach((values, side) => {
      const upper = Array.from(values, (count, i) => below[i] + (90 * count) / most);
      const point = (heights) => (i) => `${i + 0.5},${(100 - heights[i]).toFixed(1)}`;
      const there = [...values.keys()].map(point(upper)), back = [...values.keys()].reverse().map(point(below));
      marks.push(createSvg("polygon", { class: SIDES[side + 1], points: [...there, ...back].join(" ") }));
      below.set(upper);
    });
    const bar = (className, y) => (i) => createSvg("rect", { class: className, x: i + 0.5 - n / 300, width: n / 150, y, height: 100 - y });
    if (plane === 2) {
      const flags = Object.entries(state.cases[state.index]?.report.flags ?? {});
      marks.push(...state.changed.map(bar("changed", 70)),
        ...flags.flatMap(([name, message]) => slicesOfFlag(name, message, sides)).map(bar("flag", 0)));
    }
  }
  $("profile").setAttribute("viewBox", `0.5 0 ${Math.max(1, n - 1)} 100`);
  $("profile").replaceChildren(...marks);
  updateSlice();
}

export function updateSlice() {
  if (!niivue.volumes.length) return;
  const number = voxel()[axis()] + 1, text = `${number} of ${$("slice").max}`;
  $("slice").value = number;
  $("slice").ariaValueText = text;
  $("slice-number").textContent = text;
}

export function connectScrubber() {
  $("slice").addEventListener("input", () => {
    const position = voxel();
    position[axis()] = $("slice").valueAsNumber - 1;
    showVoxel(position);
  });
}
