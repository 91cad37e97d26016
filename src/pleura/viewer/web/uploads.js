// Upload of scans to the server, which segments them.
import { request, requestJson } from "./api.js";
import { openCase, updateCases } from "./cases.js";
import { $, showError, showMessage } from "./dom.js";

async function filesOfItem(item) {
  const entry = item.webkitGetAsEntry();
  if (!entry.isDirectory) return [item.getAsFile()];
  const files = [], folders = [entry];
  while (folders.length) {
    const reader = folders.pop().createReader();
    const readEntries = () => new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    for (let entries; (entries = await readEntries()).length; )
      for (const child of entries)
        if (child.isDirectory) folders.push(child);
        else files.push(await new Promise((resolve, reject) => child.file(resolve, reject)));
  }
  return files;
}

async function upload(files) {
  const id = Date.now();
  try {
    for (const [i, file] of files.entries()) {
      showMessage(`uploading file ${i + 1} of ${files.length}`);
      const name = files.length > 1 ? `${i}-${file.name}` : file.name;
      await request(`/api/uploads/${id}/${encodeURIComponent(name)}`, { method: "PUT", body: file });
    }
    showMessage("segmenting the lungs");
    const { index } = await requestJson(`/api/uploads/${id}`, { method: "POST" });
    await updateCases();
    await openCase(index);
  } catch (error) { showError(error.message); }
}

export function connectUploads() {
  const setDragging = (is) => document.body.classList.toggle("dragging", is);
  addEventListener("dragover", (event) => {
    event.preventDefault();
    setDragging(event.dataTransfer.types.includes("Files"));
  });
  addEventListener("dragleave", (event) => { if (!event.relatedTarget) setDragging(false); });
  addEventListener("drop", async (event) => {
    event.preventDefault();
    setDragging(false);
    event.stopPropagation();
    const items = [...event.dataTransfer.items].filter((item) => item.kind === "file");
    upload((await Promise.all(items.map(filesOfItem))).flat());
  }, true);
  $("files").addEventListener("change", () => { if ($("files").files.length) upload([...$("files").files]); });
}
