// What was inspected since the page was opened: a table, and the same as CSV.

import { formatNovelty, formatProbability, nameIcon, nameVerdict } from "./result.js";

const LONGEST = 500;
const HEADING = ["time", "file", "label", "probability", "novelty", "mean_novelty", "threshold", "inspector", "marked"];

const find = (id) => document.getElementById(id);
let entries = [];

/** Add an entry at the top; `open` is called with it when its name is chosen. */
export function addEntry(entry, open) {
  entries.unshift(entry);
  entry.row = makeRow(entry, open);
  find("history").tBodies[0].prepend(entry.row);
  for (const old of entries.splice(LONGEST)) forget(old);
  showCount();
}

/** Write into its row what an entry was marked as. */
export function showEntryMark(entry) {
  entry.row.lastElementChild.textContent = entry.marked;
}

/** Forget all entries but the one that is shown. */
export function clearEntries(shown) {
  for (const entry of entries) forget(entry, entry === shown);
  entries = [];
  showCount();
}

function forget(entry, keepsPhotograph = false) {
  entry.row.remove();
  if (!keepsPhotograph) URL.revokeObjectURL(entry.url);
}

function showCount() {
  const none = entries.length === 0;
  find("history").hidden = none;
  find("nothing").hidden = !none;
  find("download").disabled = none;
  find("clear").disabled = none;
  find("count").textContent = `${entries.length} inspected, the newest first`;
}

function makeRow(entry, open) {
  const row = document.createElement("tr");
  const name = document.createElement("th");
  name.scope = "row";
  const image = document.createElement("img");
  image.src = entry.url;
  image.alt = "";
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = entry.name;
  button.addEventListener("click", () => open(entry));
  name.append(image, button);
  row.append(
    name,
    makeCell(`${nameIcon(entry.label)} ${nameVerdict(entry.label)}`, `tone-${entry.label}`),
    makeCell(formatProbability(entry.probability), "number"),
    makeCell(formatNovelty(entry.novelty), "number"),
    makeCell(entry.time.toLocaleTimeString()),
    makeCell(""),
  );
  return row;
}

function makeCell(text, kind = "") {
  const cell = document.createElement("td");
  cell.textContent = text;
  cell.className = kind;
  return cell;
}

/** Return the history as CSV, the oldest first. */
export function formatHistory(facts) {
  const rows = entries.toReversed().map((entry) => [
    entry.time.toISOString(), entry.name, entry.label, entry.probability, entry.novelty,
    entry.mean_novelty ?? "", facts.threshold, `${facts.name}/${facts.version}`, entry.marked,
  ]);
  return [HEADING, ...rows].map((row) => `${row.map(quote).join(",")}\r\n`).join("");
}

// A text that begins like a formula would be computed by a spreadsheet.
function quote(value) {
  const text = typeof value === "string" && /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** Hand the history to the user as a file. */
export function downloadHistory(facts) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([formatHistory(facts)], { type: "text/csv" }));
  link.download = `inspection-${new Date().toISOString().slice(0, 19).replaceAll(":", "")}.csv`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
