// Progress of the cohort or training whose folder is open.
import { requestJson } from "./api.js";
import { openCase, updateCases } from "./cases.js";
import { $, showError } from "./dom.js";
import { state } from "./state.js";

const INTERVAL = 2000; // ms
const SVG = "http://www.w3.org/2000/svg";

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
  if (unit === "scans" && completed > state.cases.length) {
    await updateCases();
    if (state.index < 0 && state.cases.length) await openCase(0);
  }
}

function plotCurves(curves) {
  const maximum = Math.max(...Object.values(curves).flat());
  $("curves").replaceChildren(...Object.entries(curves).flatMap(([name, values], i) => {
    const line = document.createElementNS(SVG, "polyline"), label = document.createElementNS(SVG, "text");
    const x = (j) => (values.length > 1 ? (200 * j) / (values.length - 1) : 0), y = (value) => 76 - (64 * value) / maximum;
    line.setAttribute("points", values.map((value, j) => `${x(j).toFixed(1)},${y(value).toFixed(1)}`).join(" "));
    line.setAttribute("class", name);
    label.setAttribute("x", String(2 + 90 * i));
    label.setAttribute("y", "9");
    const marker = document.createElementNS(SVG, "tspan");
    marker.setAttribute("class", name);
    marker.textContent = "\u25a0 ";
    label.append(marker, `${name.replace("_", " ")} ${values.at(-1)?.toFixed(4) ?? ""}`);
    return [line, label];
  }));
}
