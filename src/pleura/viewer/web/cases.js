// The list of cases, the selected case, and its report.
import { requestJson, requestVolume } from "./api.js";
import { $, createElement, showError, showMessage } from "./dom.js";
import { defaultWindow, selectedWindow, showReferenceContour, updateMask, updateTool, updateWindow } from "./display.js";
import { restoreDraft, setChanged } from "./drafts.js";
import { niivue, state } from "./state.js";

export async function updateCases() {
  state.cases = await requestJson("/api/cases");
  listCases();
}

export function listCases() {
  const filter = $("filter").value.toLowerCase();
  $("cases").replaceChildren(...state.cases.flatMap((item, index) => {
    const flags = Object.keys(item.report.flags ?? {}), source = item.report.source ?? "";
    if (!`${item.name} ${source} ${flags.join(" ")}`.toLowerCase().includes(filter)) return [];
    const button = createElement("button", { type: "button", textContent: item.name, title: source });
    button.setAttribute("aria-current", String(index === state.index));
    if (flags.length) button.append(createElement("small", { textContent: flags.join(", ") }));
    button.addEventListener("click", () => openCase(index));
    const row = createElement("li");
    row.append(button);
    return [row];
  }));
}

// Unsaved changes stay in the browser until they are saved or discarded: another case can be opened without losing them.
export async function openCase(index, { confirmed = false } = {}) {
  if (state.isSaving) return showMessage("the mask is being saved");
  if (state.isChanged && !confirmed &&
    !confirm("The changes are not saved. They are kept in this browser. Open another scan?")) return;
  const opened = state.cases[index];
  [state.index, state.mask] = [index, null];
  setChanged(false);
  showMessage(`loading ${opened.name}`);
  listCases();
  niivue.closeDrawing();
  while (niivue.volumes.length) niivue.removeVolumeByIndex(0);
  const isSelected = () => state.index === index && state.cases[index] === opened;
  try {
    const loads = [["scan", true], ["mask", opened.has_mask], ["reference", opened.has_reference]];
    const [scan, mask, reference] =
      await Promise.all(loads.map(([kind, exists]) => (exists ? requestVolume(index, kind) : null)));
    if (!isSelected()) return;
    showVolumes(scan.image, mask?.image, reference?.image);
    $("reference-option").hidden = !reference;
    $("download").toggleAttribute("hidden", !mask);
    [$("download").href, $("download").download] =
      [`/api/cases/${index}/mask.nii`, `${opened.name.split("/").at(-1)}_lungs.nii`];
    if (mask) state.mask = { index, name: opened.name, draftKey: opened.draft_key, etag: mask.etag };
    updateWindow(); updateMask(); updateTool();
    niivue.scene.crosshairPos = [0.5, 0.5, 0.5];
    niivue.drawScene();
    niivue.createOnLocationChange();
    showMessage(opened.is_corrected ? "this is the corrected mask" : "");
    await restoreDraft();
  } catch (error) { showError(`${opened.name}: ${error.message}`); }
  if (!isSelected()) return;
  showReport(opened);
  document.body.dataset.ready = String(index);
}

function showVolumes(scan, mask, reference) {
  [scan.cal_min, scan.cal_max] = selectedWindow() ?? defaultWindow; // first: a large scan takes seconds to display
  niivue.addVolume(scan);
  if (reference) {
    showReferenceContour(reference, mask);
    niivue.addVolume(reference);
  }
  if (mask) niivue.loadDrawing(mask);
  else niivue.createEmptyDrawing();
  niivue.drawClearAllUndoBitmaps();
  niivue.drawAddUndoBitmap();
  state.redoStack = [];
}

function showReport({ name, report }) {
  const rows = [["scan", name], ["source", report.source], ["grid", report.grid], ["units", report.units]];
  for (const [side, volume] of Object.entries(report.volume_ml ?? {})) rows.push([side, `${volume} ml`]);
  const densities = report.measurements?.regions?.[0]?.densities;
  if (densities) rows.push(["mean", `${densities.mean.toFixed(0)} HU`]);
  for (const { topic, choice, reason } of report.decisions ?? []) rows.push([topic, `${choice} (${reason})`]);
  const list = createElement("dl");
  for (const [term, value] of rows.filter(([, v]) => v))
    list.append(createElement("dt", { textContent: term }), createElement("dd", { textContent: value }));
  const flags = Object.entries(report.flags ?? {}).map(([flag, message]) =>
    createElement("span", { className: "flag", textContent: `${flag}: ${message}` }));
  const heading = createElement("h2", { textContent: flags.length ? "Check this mask" : "Report" });
  $("report").replaceChildren(heading, ...flags, list);
}
