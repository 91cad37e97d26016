// Progress of the cohort or training whose folder is open.
import { requestJson } from "./api.js";
import { openCase, updateCases } from "./cases.js";
import { $, createSvg, showError } from "./dom.js";
import { state } from "./state.js";

const INTERVAL = 2000; // ms

export async function pollProgress() {
  let progress = null;
  try {
    progress = await requestJson("/api/progress");
    if (progress) await showProgress(progress); // else the files are being written, or nothing runs
  } catch (error) { showError(`the progress cannot be shown: ${error.message}`); }
  if ((progress || !$("progress").hidden) && !progress?.finished) setTimeout(pollProgress, INTERVAL);
}

async function showProgress({ unit, completed, total, failed, finished, curves }) {
  $("progress").hidden = finished && !curves;
  [$("progress-bar").max, $("progress-bar").value] = [total, completed];
  $("progress-text").textContent =
    `${completed} of ${total} ${unit}${failed ? `, ${failed} failed` : ""}${finished ? ", finished" : ""}`;
  $("curves").toggleAttribute("hidden", !curves?.loss?.length);
  if (curves) plotCurves(curves);
  if (unit === "scans" && completed > state.cases.length + state.failures.length) {
    await updateCases();
    if (state.index < 0 && state.cases.length) await openCase(0);
  }
}

function plotCurves(curves) {
  const maximum = Math.max(...Object.values(curves).flat());
  $("curves").replaceChildren(...Object.entries(curves).flatMap(([name, values], i) => {
    const x = (j) => (values.length > 1 ? (200 * j) / (values.length - 1) : 0), y = (value) => 76 - (64 * value) / maximum;
    const points = values.map((value, j) => `${x(j).toFixed(1)},${y(value).toFixed(1)}`).join(" ");
    const marker = createSvg("tspan", { class: name }, "\u25a0 ");
    return [createSvg("polyline", { points, class: name }),
      createSvg("text", { x: 2 + 90 * i, y: 9 }, marker, `${name.replace("_", " ")} ${values.at(-1)?.toFixed(4) ?? ""}`)];
  }));
}
