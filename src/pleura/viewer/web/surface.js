// Smooth surfaces of both lungs for the 3-D view: naive surface nets (Gibson, MICCAI 1998) of the smoothed mask.
import { NVMesh } from "@niivue/niivue";
import { choice } from "./controls.js";
import { rgb } from "./colours.js";
import { SIDES } from "./measures.js";
import { forEachLungVoxel, grid, niivue, state } from "./state.js";

const CELL = 2.5; // mm: the mask is averaged over cells of about this size
const PADDING = 3; // cells around the lung
let isStale = true;

// Return the share of each cell that a label fills, smoothed, with the number of voxels per cell and the first cell.
function shares(label, side) {
  const { dx, dy, dz } = grid(), size = [dx, dy, dz].map((d) => Math.max(1, Math.round(CELL / d)));
  const range = side.axes.map((counts) => [counts.findIndex((n) => n > 0), counts.findLastIndex((n) => n > 0)]);
  const first = range.map(([low], axis) => Math.floor(low / size[axis]) - PADDING);
  const [nx, ny, nz] = range.map(([, high], axis) => Math.floor(high / size[axis]) - first[axis] + 1 + PADDING);
  const cells = new Float32Array(nx * ny * nz), one = 1 / (size[0] * size[1] * size[2]);
  forEachLungVoxel((found, i, j, x, y, z) => {
    if (found !== label) return;
    cells[Math.floor(x / size[0]) - first[0] +
      nx * (Math.floor(y / size[1]) - first[1] + ny * (Math.floor(z / size[2]) - first[2]))] += one;
  });
  for (const step of [1, nx, nx * ny, 1, nx, nx * ny]) {
    const before = cells.slice();
    for (let i = step; i < cells.length - step; i++) cells[i] = (before[i - step] + 2 * before[i] + before[i + step]) / 4;
  }
  return { cells, n: [nx, ny, nz], size, first };
}

// Return vertices, in cells, and triangles of the surface where the share is 0.5.
function surfaceNet({ cells, n: [nx, ny, nz] }) {
  const steps = [1, nx, nx * ny], vertexOf = new Int32Array(cells.length).fill(-1), vertices = [], triangles = [];
  const corners = Array.from({ length: 8 }, (_, c) => [c & 1, (c >> 1) & 1, c >> 2]);
  const offsets = corners.map(([x, y, z]) => x * steps[0] + y * steps[1] + z * steps[2]);
  const edges = corners.flatMap((_, a) => [1, 2, 4].filter((bit) => !(a & bit)).map((bit) => [a, a | bit]));
  for (let z = 0; z < nz - 1; z++) for (let y = 0; y < ny - 1; y++) for (let x = 0; x < nx - 1; x++) {
    const cell = x + nx * (y + ny * z), isInside = cells[cell] >= 0.5;
    if (offsets.every((offset) => cells[cell + offset] >= 0.5 === isInside)) continue;
    const values = offsets.map((offset) => cells[cell + offset]), inside = values.map((value) => value >= 0.5);
    const sum = [0, 0, 0];
    let crossings = 0;
    for (const [a, b] of edges) if (inside[a] !== inside[b]) {
      const t = (0.5 - values[a]) / (values[b] - values[a]);
      for (const axis of [0, 1, 2]) sum[axis] += corners[a][axis] + t * (corners[b][axis] - corners[a][axis]);
      crossings++;
    }
    vertexOf[cell] = vertices.length / 3;
    vertices.push(x + sum[0] / crossings, y + sum[1] / crossings, z + sum[2] / crossings);
    for (const axis of [0, 1, 2]) {
      if (inside[0] === inside[1 << axis]) continue;
      const [u, v] = [steps[(axis + 1) % 3], steps[(axis + 2) % 3]];
      const [a, b, c, d] = [cell, cell - u, cell - u - v, cell - v].map((at) => vertexOf[at]);
      if (Math.min(a, b, c, d) < 0) continue;
      triangles.push(...(inside[0] ? [a, b, c, a, c, d] : [a, c, b, a, d, c]));
    }
  }
  return { vertices, triangles };
}

function meshOf(label) {
  const side = state.measures[label];
  if (!side.voxels) return null;
  const field = shares(label, side), { vertices, triangles } = surfaceNet(field), { matRAS } = niivue.back;
  if (!triangles.length) return null; // the lung is thinner than the smoothing
  const points = new Float32Array(vertices.length);
  for (let i = 0; i < vertices.length; i += 3) {
    // The centre of a cell of n voxels is half a voxel less than n / 2 voxels from its first voxel's centre.
    const voxel = [0, 1, 2].map((axis) => (vertices[i + axis] + field.first[axis] + 0.5) * field.size[axis] - 0.5);
    for (const row of [0, 1, 2])
      points[i + row] = matRAS[4 * row + 3] + voxel.reduce((sum, v, axis) => sum + matRAS[4 * row + axis] * v, 0);
  }
  return new NVMesh(points, new Uint32Array(triangles), SIDES[label], new Uint8Array([...rgb(SIDES[label]), 255]), 1, true, niivue.gl);
}

// addMesh and removeMesh of NiiVue would send all volumes to the GPU again.
export function removeSurfaces() {
  for (const mesh of niivue.meshes) mesh.unloadMesh(niivue.gl);
  niivue.meshes = [];
  isStale = true;
}

// Make the surfaces if they are displayed and the mask has changed.
export function updateSurfaces(changed = false) {
  isStale ||= changed;
  const isShown = choice("view") === "render" || niivue.customLayout?.some(({ sliceType }) => sliceType === 4);
  if (!isStale || !isShown || !state.measures) return;
  removeSurfaces();
  niivue.meshes = [1, 2].map(meshOf).filter(Boolean);
  isStale = false;
  niivue.drawScene();
}

// The 3-D view displays the surfaces alone, around their own centre.
export function connectSurfaces() {
  niivue.drawImage3D = () => {};
  const setPivot = niivue.setPivot3D.bind(niivue);
  niivue.setPivot3D = () => {
    setPivot();
    if (!niivue.meshes.length) return;
    const extent = (pick, name) => [0, 1, 2].map((axis) => pick(...niivue.meshes.map((mesh) => mesh[name][axis])));
    const [low, high] = [extent(Math.min, "extentsMin"), extent(Math.max, "extentsMax")];
    niivue.pivot3D = low.map((value, axis) => (value + high[axis]) / 2);
    niivue.furthestFromPivot = Math.hypot(...low.map((value, axis) => high[axis] - value)) / 2;
    [niivue.extentsMin, niivue.extentsMax] = [low, high];
  };
}
