// Undo and redo: the label maps of all edits, run-length encoded.
import { decodeRLE, encodeRLE } from "@niivue/niivue/drawing";
import { niivue } from "./state.js";

const LIMIT = 50;
let entries = [], position = 0, saved = null;

const isEqual = (a, b) => a === b || (a.length === b.length && a.every((byte, i) => byte === b[i]));

// Begin a history with the label map on the canvas, which is the saved one.
export function resetHistory() {
  [entries, position] = [[encodeRLE(niivue.drawBitmap)], 0];
  [saved] = entries;
}

// Add the label map on the canvas; return false if it equals the latest one.
export function addToHistory() {
  const labels = encodeRLE(niivue.drawBitmap);
  if (isEqual(labels, entries[position])) return false;
  entries = [...entries.slice(Math.max(0, position + 2 - LIMIT), position + 1), labels];
  position = entries.length - 1;
  return true;
}

// Show the label map of another edit; return false if there is none.
export function moveInHistory(step) {
  if (!entries[position + step]) return false;
  position += step;
  niivue.drawBitmap.set(decodeRLE(entries[position], niivue.drawBitmap.length));
  niivue.refreshDrawing(true);
  return true;
}

export const canMove = (step) => Boolean(entries[position + step]);
export const currentEntry = () => entries[position];
export const markSaved = (entry) => { saved = entry; };
export const isChanged = () => saved !== null && entries.length > 0 && !isEqual(entries[position], saved);
