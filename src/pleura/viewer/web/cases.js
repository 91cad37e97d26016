// The list of scans, the selected scan, and its report.
import { requestJson, requestVolume } from "./api.js";
import { choose } from "./controls.js";
import { forgetOriginal } from "./correction.js";
import { $, createElement, createIcon, showError, showMessage } from "./dom.js";
import { defaultWindow, resetView, selectedWindow, showCaption, updateMask, updateTool, updateView, updateWindow } from "./display.js";
import { restoreDraft, updateAfterEdit } from "./drafts.js";
import { isChanged, resetHistory } from "./history.js";
import { measure } from "./measures.js";
import { forgetOverlays, showClasses, showReference, updateReference } from "./overlays.js";
import { showFlags, updateScrubber } from "./scrubber.js";
import { grid, niivue, state } from "./state.js";
import { removeSurfaces } from "./surface.js";

export async function updateCases() {
  [state.cases, state.failures] = await Promise.all([requestJson("/api/cases"), requestJson("/api/failures")]);
  listCases();
  listFailures();
}

const badge = (className, icon, text) => createElement("span", { className: `badge ${className}` }, createIcon(icon), text);

export function listCases() {
  const filter = $("filter").value.toLowerCase();
  $("filter").hidden = state.cases.length < 2;
  $("cases").replaceChildren(...state.cases.flatMap((item, index) => {
    const flags = Object.values(item.flag_titles), source = item.report.source ?? "";
    if (!`${item.name} ${source} ${flags.join(" ")}`.toLowerCase().includes(filter)) return [];
    const badges = [...flags.map((flag) => badge("warning", "warning", flag)),
      ...(item.is_corrected ? [badge("success", "check", "corrected")] : [])];
    const button = createElement("button", { type: "button", title: source }, createElement("span", { textContent: item.name }),
      createElement("span", { className: "badges" }, ...badges));
    button.setAttribute("aria-current", String(index === state.index));
    button.addEventListener("click", () => openCase(index));
    return [createElement("li", {}, button)];
  }));
}

function listFailures() {
  $("failures").hidden = !state.failures.length;
  const items = state.failures.map(({ name, source, error }) =>
    createElement("li", { className: "notice error", title: source }, createIcon("error"),
      createElement("div", {}, createElement("strong", { textContent: name }), error)));
  $("failures").replaceChildren(createElement("h2", { textContent: `Failed scans (${items.length})` }), createElement("ul", {}, ...items));
}

// Unsaved changes stay in the browser until they are saved or discarded: another case can be opened without losing them.
export async function openCase(index, { confirmed = false } = {}) {
  if (state.isSaving) return showMessage("the mask is being saved");
  if (state.mask && isChanged() && !confirmed &&
    !confirm("The changes are not saved. They are kept in this browser. Open another scan?")) return;
  const opened = state.cases[index];
  closeCase();
  state.index = index;
  showMessage(`loading ${opened.name}`);
  listCases();
  const isSelected = () => state.index === index && state.cases[index] === opened;
  try {
    const loads = [["scan", true], ["mask", opened.has_mask], ["reference", opened.has_reference]];
    const [scan, mask, reference] =
      await Promise.all(loads.map(([kind, exists]) => (exists ? requestVolume(index, kind) : null)));
    const changed = opened.is_corrected ? await requestJson(`/api/cases/${index}/changed-slices`) : [];
    if (!isSelected()) return;
    [state.spacing, state.changed] = [scan.spacing, changed];
    const isEditable = mask && !mask.classes.length;
    showVolumes(scan.image, isEditable ? mask.image : null, reference?.image);
    if (mask && !isEditable) showClasses(mask.image, mask.classes);
    $("tools").hidden = Boolean(mask) && !isEditable;
    $("reference").hidden = !reference;
    $("download").toggleAttribute("hidden", !mask);
    [$("download").href, $("download").download] =
      [`/api/cases/${index}/mask.nii`, `${opened.name.split("/").at(-1)}_${mask?.classes.length ? "labels" : "lungs"}.nii`];
    if (isEditable) {
      state.mask = { index, name: opened.name, draftKey: opened.draft_key, etag: mask.etag };
      state.measures = measure();
    }
    if (grid().nz === 1) choose("view", "axial");
    showFlags(opened.report.flags ?? {}, opened.flag_titles);
    updateAfterEdit();
    if (mask && !isEditable) showLegend(mask.classes);
    updateWindow(); updateMask(); updateReference(); updateTool(); updateView(); resetView(); showCaption();
    showMessage(opened.is_corrected ? "this is the corrected mask" : "");
    await restoreDraft();
  } catch (error) { showError(`${opened.name}: ${error.message}`); }
  if (!isSelected()) return;
  showReport(opened);
  document.body.dataset.ready = String(index);
}

// Remove the scan and its mask from the page.
function closeCase() {
  forgetOriginal();
  [state.mask, state.measures, state.changed] = [null, null, []];
  niivue.closeDrawing();
  removeSurfaces();
  forgetOverlays();
  while (niivue.volumes.length) niivue.removeVolumeByIndex(0);
  for (const id of ["flags", "measurements", "correction", "report"]) $(id).replaceChildren();
  for (const id of ["save", "discard", "undo", "redo"]) $(id).disabled = true;
  $("save-state").hidden = $("scrubber").hidden = $("empty").hidden = true;
  $("tools").hidden = false;
  $("caption").textContent = $("position").textContent = "";
}

function showVolumes(scan, mask, reference) {
  [scan.cal_min, scan.cal_max] = selectedWindow() ?? defaultWindow; // first: a large scan takes seconds to display
  niivue.addVolume(scan);
  if (reference) showReference(reference, mask);
  if (mask) niivue.loadDrawing(mask);
  else niivue.createEmptyDrawing();
  resetHistory();
}

// Show the names and colours of classes in place of the measures of lungs.
function showLegend(classes) {
  const items = classes.map(([name, colour]) => {
    const key = createElement("span", { className: "key" });
    key.style.setProperty("--colour", `var(--${colour})`);
    return createElement("li", {}, key, name);
  });
  $("measurements").replaceChildren(createElement("h2", { textContent: "Classes" }), createElement("ul", { id: "legend" }, ...items),
    createElement("p", { className: "muted", textContent: "A mask of several classes cannot be edited here: the tools correct masks of lungs only." }));
}

function showReport({ name, report }) {
  const rows = [["scan", name], ["source", report.source], ["grid", report.grid]];
  for (const { topic, choice, reason } of report.decisions ?? []) rows.push([topic, `${choice} (${reason})`]);
  if (!rows.some(([term]) => term === "units")) rows.splice(3, 0, ["units", report.units]);
  const list = createElement("dl", { className: "facts" });
  for (const [term, value] of rows.filter(([, v]) => v))
    list.append(createElement("dt", { textContent: term }), createElement("dd", { textContent: value }));
  $("report").replaceChildren(createElement("h2", { textContent: "Scan" }), list);
}
