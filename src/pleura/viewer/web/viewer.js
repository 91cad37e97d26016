// The page: a list of scans, a NiiVue canvas, and tools to correct the mask that lies over the scan.
import { Niivue, NVImage, SLICE_TYPE, DRAG_MODE } from "@niivue/niivue";

const $ = (id) => document.getElementById(id);
const WINDOWS = { lung: [-1350, 150], mediastinum: [-160, 240], bone: [-450, 1050] };
const VIEWS = { multi: SLICE_TYPE.MULTIPLANAR, axial: SLICE_TYPE.AXIAL, coronal: SLICE_TYPE.CORONAL,
  sagittal: SLICE_TYPE.SAGITTAL, render: SLICE_TYPE.RENDER };
const LABELS = { R: [0, 230, 86], G: [0, 159, 180], B: [0, 0, 233], A: [0, 255, 255], labels: ["", "right", "left"] };
const MARKS = { R: [0, 0, 204], G: [0, 158, 121], B: [0, 115, 167], A: [0, 255, 130], labels: ["", "reference", "differs"] };
const UNSAVED = "pleura-unsaved:";
const DRAWING = ["brush", "erase", "fill", "grow"];

const nv = new Niivue({ backColor: [0, 0, 0, 1], show3Dcrosshair: true, isRadiologicalConvention: true, crosshairWidth: 0.5,
  dragMode: DRAG_MODE.contrast, loadingText: "" });
nv.useCustomGradientTexture = true; // there is none, and none is computed: see build.mjs
// `opened` is the case whose mask lies on the canvas, with the stamp of that mask; null while one is loading.
let cases = [], current = -1, opened = null, changed = false, edits = 0, saving = false, redo = [];

function say(text, bad = false) { $("message").textContent = text; $("message").classList.toggle("bad", bad); }

async function fetched(path, options) {
  const answer = await fetch(path, options);
  if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).error ?? `${answer.status} ${answer.statusText}`);
  return answer;
}
async function image(index, kind) {
  const answer = await fetched(`/api/cases/${index}/${kind}.nii`);
  const loaded = await NVImage.loadFromUrl({ url: await answer.arrayBuffer(), name: `${kind}.nii` });
  return [loaded, answer.headers.get("ETag")];
}

// What is drawn stays in the browser until it is saved or discarded, so leaving a scan loses nothing; it asks all the same.
async function open(index, discard = false) {
  if (saving) return say("saving: wait a moment");
  if (changed && !discard && !confirm("The correction is not saved; it is kept in this browser until you come back. Leave it?")) return;
  const one = cases[index];
  current = index;
  opened = null;
  setChanged(false);
  say(`loading ${one.name}`);
  list();
  nv.closeDrawing();
  while (nv.volumes.length) nv.removeVolumeByIndex(0);
  const here = () => current === index && cases[index] === one;
  try {
    const asked = [["scan", true], ["mask", one.mask], ["reference", one.reference]];
    const [[scan], [mask, stamp], [reference]] =
      await Promise.all(asked.map(([kind, there]) => (there ? image(index, kind) : [null, null])));
    if (!here()) return;
    [scan.cal_min, scan.cal_max] = chosenWindow() ?? WINDOWS.lung; // before it is drawn, which a large scan takes seconds to
    nv.addVolume(scan);
    if (reference) {
      mark(reference, mask);
      nv.addVolume(reference);
    }
    if (mask) nv.loadDrawing(mask);
    else nv.createEmptyDrawing();
    nv.drawClearAllUndoBitmaps();
    nv.drawAddUndoBitmap();
    redo = [];
    $("reference-box").hidden = !one.reference;
    $("download").toggleAttribute("hidden", !mask);
    [$("download").href, $("download").download] = [`/api/cases/${index}/mask.nii`, `${one.name.split("/").at(-1)}_lungs.nii`];
    if (mask) opened = { index, name: one.name, draft: UNSAVED + one.draft, stamp };
    showWindow(); showMask(); showTool();
    nv.scene.crosshairPos = [0.5, 0.5, 0.5];
    nv.drawScene();
    nv.createOnLocationChange();
    say(one.corrected ? "this mask was corrected before" : "");
    await restore();
  } catch (error) { say(`${one.name}: ${error.message}`, true); }
  if (!here()) return;
  facts(one);
  document.body.dataset.ready = String(index);
}

// Turn a reference into its contour in each slice, and what differs from the mask as it was opened.
function mark(reference, mask) {
  const [columns, rows] = reference.hdr.dims.slice(1, 3);
  const inside = Uint8Array.from(reference.img, (label) => (label > 0 ? 1 : 0));
  for (let i = 0; i < inside.length; i++) {
    const column = i % columns, row = Math.floor(i / columns) % rows;
    const inner = column > 0 && column < columns - 1 && row > 0 && row < rows - 1 &&
      inside[i - 1] && inside[i + 1] && inside[i - columns] && inside[i + columns];
    reference.img[i] = inside[i] && !inner ? 1 : mask && inside[i] !== (mask.img[i] > 0 ? 1 : 0) ? 2 : 0;
  }
  reference.setColormapLabel(MARKS);
  [reference.cal_min, reference.cal_max] = [0, 2];
}

function list() {
  const wanted = $("filter").value.toLowerCase();
  $("cases").replaceChildren(...cases.flatMap((one, index) => {
    const flags = Object.keys(one.report.flags ?? {});
    if (!`${one.name} ${one.report.source ?? ""} ${flags.join(" ")}`.toLowerCase().includes(wanted)) return [];
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: one.name, title: one.report.source ?? "" });
    button.setAttribute("aria-current", String(index === current));
    if (flags.length) button.append(Object.assign(document.createElement("small"), { textContent: flags.join(", ") }));
    button.addEventListener("click", () => open(index));
    const item = document.createElement("li");
    item.append(button);
    return [item];
  }));
}

function facts(one) {
  const rows = [["scan", one.name], ["source", one.report.source], ["grid", one.report.grid], ["units", one.report.units]];
  for (const [side, ml] of Object.entries(one.report.volume_ml ?? {})) rows.push([side, `${ml} ml`]);
  const densities = one.report.measurements?.regions?.[0]?.densities;
  if (densities) rows.push(["mean", `${densities.mean.toFixed(0)} HU`]);
  for (const decision of one.report.decisions ?? []) rows.push([decision.topic, `${decision.choice} (${decision.reason})`]);
  const told = document.createElement("dl");
  for (const [name, value] of rows.filter(([, v]) => v))
    told.append(Object.assign(document.createElement("dt"), { textContent: name }),
      Object.assign(document.createElement("dd"), { textContent: value }));
  const flags = Object.entries(one.report.flags ?? {}).map(([name, what]) =>
    Object.assign(document.createElement("span"), { className: "flag", textContent: `${name}: ${what}` }));
  const head = Object.assign(document.createElement("h2"), { textContent: flags.length ? "Look at this mask" : "About this scan" });
  $("facts").replaceChildren(head, ...flags, told);
}

function chosenWindow() {
  const [low, high] = WINDOWS[$("window").value] ?? [Number($("low").value), Number($("high").value)];
  return low < high ? [low, high] : null;
}
function showWindow() {
  $("free").hidden = $("window").value !== "free";
  const chosen = chosenWindow(), scan = nv.volumes[0];
  if (!scan || !chosen || (scan.cal_min === chosen[0] && scan.cal_max === chosen[1])) return;
  [scan.cal_min, scan.cal_max] = chosen;
  nv.updateGLVolume();
}
function showMask() {
  nv.setDrawOpacity($("opacity").valueAsNumber);
  nv.drawRimOpacity = $("contours").checked ? 1 : -1;
  if (nv.volumes.length > 1) {
    nv.setOpacity(1, $("reference").checked ? 0.9 : 0);
  }
  nv.drawScene();
}
function showTool() {
  const tool = $("tool").value, side = Number($("side-drawn").value);
  nv.opts.clickToSegment = tool === "grow";
  nv.opts.clickToSegmentIs2D = true;
  nv.opts.penSize = $("size").valueAsNumber || 1;
  nv.setDrawingEnabled(opened !== null && DRAWING.includes(tool));
  if (opened === null) return;
  nv.setPenValue(tool === "erase" ? 0 : side, tool === "fill");
}

function setChanged(state) {
  changed = state;
  $("save").disabled = $("discard").disabled = !state;
}
// Strokes that are not saved outlive a crash or a reload of the page, in the browser's own storage, under no name.
async function remember() {
  if (!opened) return;
  setChanged(true);
  const { draft, stamp } = opened, edit = ++edits;
  const packed = new Response(new Blob([nv.drawBitmap]).stream().pipeThrough(new CompressionStream("gzip")));
  const bytes = new Uint8Array(await packed.arrayBuffer());
  if (edit !== edits) return; // a later stroke, or a save, has overtaken this one
  let text = "";
  for (let i = 0; i < bytes.length; i += 32768) text += String.fromCharCode(...bytes.subarray(i, i + 32768));
  try { localStorage.setItem(draft, JSON.stringify({ stamp, drawn: btoa(text) })); }
  catch { say("too large to keep through a crash: save often"); }
}
async function restore() {
  if (!opened) return;
  const mine = opened, kept = JSON.parse(localStorage.getItem(mine.draft) ?? "null");
  if (!kept) return;
  if (kept.stamp !== mine.stamp && !confirm("You drew on this mask, and it was saved by somebody else since. Lay what you drew over it?"))
    return say("what you drew before is still kept in this browser");
  const bytes = Uint8Array.from(atob(kept.drawn), (c) => c.charCodeAt(0));
  const whole = new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip")));
  const drawn = new Uint8Array(await whole.arrayBuffer());
  if (opened !== mine || drawn.length !== nv.drawBitmap.length) return;
  replace(drawn);
  setChanged(true);
  say("what was not saved is back");
}
function discard() {
  if (!changed || !opened || !confirm("Discard what is not saved?")) return;
  edits++;
  localStorage.removeItem(opened.draft);
  open(opened.index, true);
}
function replace(bitmap) {
  nv.drawBitmap.set(bitmap);
  nv.refreshDrawing(true);
  nv.drawAddUndoBitmap();
}
function undo() { if (!opened) return; redo.push(nv.drawBitmap.slice()); nv.drawUndo(); remember(); }
function redone() { const last = redo.pop(); if (last) { replace(last); remember(); } }
function swap() {
  if (!opened) return;
  replace(nv.drawBitmap.map((label) => (label === 1 ? 2 : label === 2 ? 1 : label)));
  remember();
}
// The connected piece of the mask under the crosshair becomes of the chosen side.
function assign() {
  if (!opened) return;
  const [columns, rows] = nv.back.dimsRAS.slice(1, 3), slice = columns * rows;
  const [x, y, z] = nv.frac2vox(nv.scene.crosshairPos).map(Math.round);
  const side = Number($("side-drawn").value), labels = nv.drawBitmap.slice(), seen = new Uint8Array(labels.length);
  const waiting = [x + y * columns + z * slice];
  if (!labels[waiting[0]]) return say("there is no mask at this place");
  while (waiting.length) {
    const at = waiting.pop();
    if (seen[at] || !labels[at]) continue;
    seen[at] = 1;
    labels[at] = side;
    const column = at % columns, row = Math.floor(at / columns) % rows;
    if (column > 0) waiting.push(at - 1);
    if (column < columns - 1) waiting.push(at + 1);
    if (row > 0) waiting.push(at - columns);
    if (row < rows - 1) waiting.push(at + columns);
    if (at >= slice) waiting.push(at - slice);
    if (at + slice < labels.length) waiting.push(at + slice);
  }
  replace(labels);
  remember();
}
async function save() {
  if (!changed || !opened || saving) return;
  const mine = opened, edit = edits;
  saving = true;
  try {
    const content = await nv.saveImage({ filename: "", isSaveDrawing: true });
    const how = { method: "PUT", body: content, headers: { "If-Match": mine.stamp } };
    const record = await (await fetched(`/api/cases/${mine.index}/corrected`, how)).json();
    const told = Object.entries(record.changes).map(([side, c]) => `${side} ${c.ml === null ? `${c.voxels} voxels` : `${c.ml} ml`}`);
    say(`saved ${record.corrected}: ${told.join(", ")} changed`);
    mine.stamp = record.stamp;
    cases[mine.index].corrected = true;
    if (edit === edits) {
      edits++;
      localStorage.removeItem(mine.draft);
      setChanged(false);
    } else remember(); // drawn on meanwhile
  } catch (error) { say(`not saved: ${error.message}`, true); }
  saving = false;
}

// A scan that is dropped on the page is sent to the server of this machine, which finds its lungs.
async function filesOf(item) {
  const entry = item.webkitGetAsEntry();
  if (!entry.isDirectory) return [item.getAsFile()];
  const found = [], folders = [entry];
  while (folders.length) {
    const reader = folders.pop().createReader();
    for (let batch; (batch = await new Promise((done, bad) => reader.readEntries(done, bad))).length; )
      for (const one of batch)
        if (one.isDirectory) folders.push(one);
        else found.push(await new Promise((done, bad) => one.file(done, bad)));
  }
  return found;
}
async function dropped(files) {
  const drop = Date.now();
  try {
    for (const [i, file] of files.entries()) {
      say(`reading file ${i + 1} of ${files.length}`);
      const name = files.length > 1 ? `${i}-${file.name}` : file.name;
      await fetched(`/api/dropped/${drop}/${encodeURIComponent(name)}`, { method: "PUT", body: file });
    }
    say("finding the lungs");
    const { index } = await (await fetched(`/api/dropped/${drop}`, { method: "POST" })).json();
    cases = await (await fetched("/api/cases")).json();
    await open(index);
  } catch (error) { say(error.message, true); }
}
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", async (event) => {
  event.preventDefault();
  event.stopPropagation();
  const items = [...event.dataTransfer.items].filter((item) => item.kind === "file");
  dropped((await Promise.all(items.map(filesOf))).flat());
}, true);
$("files").addEventListener("change", () => { if ($("files").files.length) dropped([...$("files").files]); });

// What runs in the folder that is looked at, a batch or a training, as it goes.
async function watch() {
  let told = null;
  try {
    told = await (await fetched("/api/progress")).json();
    await shown(told);
  } catch (error) { say(`what runs cannot be shown: ${error.message}`, true); }
  if ((told || !$("running").hidden) && !told?.finished) setTimeout(watch, 2000);
}
async function shown(told) {
  if (!told) return; // written at this moment, or nothing runs
  $("running").hidden = told.finished && !told.curves;
  [$("bar").max, $("bar").value] = [told.total, told.completed];
  const failed = told.failed ? `, ${told.failed} failed` : "";
  $("running-text").textContent = `${told.completed} of ${told.total} ${told.what}${failed}${told.finished ? ", finished" : ""}`;
  $("curves").toggleAttribute("hidden", !told.curves?.loss?.length);
  if (told.curves) curves(told.curves);
  if (told.what === "scans" && told.completed > cases.length) {
    cases = await (await fetched("/api/cases")).json();
    list();
    if (current < 0 && cases.length) await open(0);
  }
}
function curves(all) {
  const top = Math.max(...Object.values(all).flat()), svg = "http://www.w3.org/2000/svg";
  $("curves").replaceChildren(...Object.entries(all).flatMap(([name, values], i) => {
    const line = document.createElementNS(svg, "polyline"), label = document.createElementNS(svg, "text");
    const x = (j) => (values.length > 1 ? (200 * j) / (values.length - 1) : 0);
    line.setAttribute("points", values.map((v, j) => `${x(j).toFixed(1)},${(76 - 64 * v / top).toFixed(1)}`).join(" "));
    line.setAttribute("class", name);
    label.setAttribute("x", String(2 + 90 * i));
    label.setAttribute("y", "9");
    label.textContent = `${name.replace("_", " ")} ${values.at(-1)?.toFixed(4) ?? ""}`;
    return [line, label];
  }));
}

function choose(id, value) { $(id).value = value; $(id).dispatchEvent(new Event("change")); }
const toggle = (id) => $(id).click();
const KEYS = {
  j: () => open(Math.min(current + 1, cases.length - 1)), k: () => open(Math.max(current - 1, 0)),
  a: () => choose("view", "axial"), c: () => choose("view", "coronal"), s: () => choose("view", "sagittal"),
  m: () => choose("view", "multi"), v: () => choose("view", "render"),
  1: () => choose("window", "lung"), 2: () => choose("window", "mediastinum"), 3: () => choose("window", "bone"),
  4: () => choose("window", "free"), o: () => toggle("contours"), r: () => toggle("reference"),
  b: () => choose("tool", "brush"), e: () => choose("tool", "erase"), f: () => choose("tool", "fill"),
  g: () => choose("tool", "grow"), p: () => choose("tool", "assign"), l: () => choose("tool", "look"),
  x: () => choose("side-drawn", $("side-drawn").value === "1" ? "2" : "1"), "?": () => $("help").showModal(),
  ArrowUp: (shift) => move(shift ? "up" : "through"), ArrowDown: (shift) => move(shift ? "up" : "through", -1),
  ArrowLeft: (shift) => shift && move("left"), ArrowRight: (shift) => shift && move("left", -1),
};
// Voxels to the patient's right, front and head.
const AXES = { axial: { through: [0, 0, 1], left: [1, 0, 0], up: [0, 1, 0] },
  coronal: { through: [0, 1, 0], left: [1, 0, 0], up: [0, 0, 1] },
  sagittal: { through: [1, 0, 0], left: [0, -1, 0], up: [0, 0, 1] } };
function move(where, by = 1) {
  const axes = AXES[$("view").value] ?? AXES.axial;
  nv.moveCrosshairInVox(...axes[where].map((one) => one * by));
}
document.addEventListener("keydown", (event) => {
  const control = { z: undo, y: redone, s: save }[event.key.toLowerCase()];
  if ((event.ctrlKey || event.metaKey) && control) { event.preventDefault(); control(); return; }
  if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
  if (KEYS[event.key]) { event.preventDefault(); KEYS[event.key](event.shiftKey); }
}, true);
// NiiVue has keys of its own on the canvas, which mean other things.
for (const kind of ["keydown", "keyup"]) $("canvas").addEventListener(kind, (event) => event.stopImmediatePropagation(), true);

$("filter").addEventListener("input", list);
$("view").addEventListener("change", () => nv.setSliceType(VIEWS[$("view").value]));
for (const id of ["window", "low", "high"]) $(id).addEventListener("change", showWindow);
for (const id of ["opacity", "contours", "reference"]) $(id).addEventListener("input", showMask);
for (const id of ["tool", "side-drawn", "size"]) $(id).addEventListener("change", showTool);
$("undo").addEventListener("click", undo);
$("redo").addEventListener("click", redone);
$("swap").addEventListener("click", swap);
$("between").addEventListener("click", () => { if (opened) { nv.interpolateMaskSlices(); remember(); } });
$("discard").addEventListener("click", discard);
$("save").addEventListener("click", save);
$("help-open").addEventListener("click", () => $("help").showModal());
window.addEventListener("beforeunload", (event) => { if (changed) event.preventDefault(); });

nv.onLocationChange = ({ mm, vox, values }) => {
  const [x, y, z] = mm;
  $("place").textContent = `${(-x).toFixed(1)}, ${(-y).toFixed(1)}, ${z.toFixed(1)} mm (LPS); ` +
    `voxel ${vox.map((v) => Math.round(v)).join(", ")}; ${Math.round(values[0]?.value ?? NaN)} HU`;
};
// A stroke ends where the left button is let go, or where it leaves the canvas.
let button = 0;
$("canvas").addEventListener("pointerdown", (event) => { button = event.button; });
function stroke() {
  if (button === 0 && DRAWING.includes($("tool").value)) { redo = []; remember(); }
}
nv.onMouseUp = () => { if (button === 0 && $("tool").value === "assign") assign(); else stroke(); };
$("canvas").addEventListener("mouseleave", (event) => { if (event.buttons & 1) stroke(); });

if (!document.createElement("canvas").getContext("webgl2")) {
  say("this browser has no WebGL 2: use a current Firefox, Chrome or Safari, with hardware acceleration on", true);
  throw new Error("no WebGL 2");
}
await nv.attachToCanvas($("canvas"));
nv.setRadiologicalConvention(true);
nv.opts.multiplanarShowRender = 1;
nv.setDrawColormap(LABELS);
window.viewer = nv;
cases = await (await fetched("/api/cases")).json();
list();
await watch();
if (current < 0 && cases.length) await open(0);
else if (current < 0 && $("running").hidden) say("drop a scan here: a file, a zip, or a folder of DICOM");
