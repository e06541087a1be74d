// The inspection page: photographs in by drop, file, clipboard or camera; what the server says of them out.

import { addEntry, clearEntries, downloadHistory, showEntryMark } from "./history.js";
import { fitRegion, listenToRegion, takeRegion } from "./region.js";
import { drawHeat, findShown, formatProbability, nameVerdict, showMark, showResult } from "./result.js";

const TOKEN = "mvdefect-token";
const PATIENCE_MS = 60_000;
const BYTES = "application/octet-stream";

const find = (id) => document.getElementById(id);
let facts = null;
let queue = Promise.resolve();
let stream = null;

/** Tell everybody, also those who do not see the page. */
function announce(text) {
  find("status").textContent = text;
}

function showError(text) {
  const note = document.createElement("div");
  note.className = "note error";
  const words = document.createElement("p");
  words.textContent = text;
  const close = document.createElement("button");
  close.type = "button";
  close.textContent = "Dismiss";
  close.addEventListener("click", () => note.remove());
  note.append(words, close);
  find("errors").append(note);
}

/** Ask the server; an error says in plain words why there is no answer. */
async function ask(path, options = {}) {
  const token = sessionStorage.getItem(TOKEN);
  const headers = { ...options.headers, ...(token && { Authorization: `Bearer ${token}` }) };
  let response;
  try {
    response = await fetch(path, { ...options, headers, signal: AbortSignal.timeout(PATIENCE_MS) });
  } catch (error) {
    const isSlow = error.name === "TimeoutError";
    throw new Error(isSlow ? "the server took too long" : "the server cannot be reached; is it still running?");
  }
  if (response.status === 401 && sessionStorage.getItem(TOKEN) === token) askForToken(token !== null);
  const tree = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(tree.error ?? `the server answered with status ${response.status}`);
  return tree;
}

function askForToken(wasWrong) {
  if (wasWrong) showError("This token is not the right one.");
  sessionStorage.removeItem(TOKEN);
  find("token-form").hidden = false;
  find("token").focus();
}

async function loadFacts() {
  try {
    facts = await ask("api/inspector");
  } catch (error) {
    if (find("token-form").hidden) showError(`The inspector is not known: ${error.message}`);
    return;
  }
  find("token-form").hidden = true;
  document.title = `Inspection: ${facts.name}`;
  find("name").textContent = facts.name;
  find("version").textContent = `Version ${facts.version}; defective from probability ${facts.threshold_words} on.`;
  find("largest").textContent = `; up to ${facts.max_upload_mb} MB and ${facts.max_megapixels} megapixels`;
  find("contract").textContent = facts.contract;
  find("guarantee").textContent = facts.guarantee;
  find("measured").textContent = facts.measured.heading;
  find("figures").tBodies[0].replaceChildren(...facts.measured.rows.map(makeFigure));
}

function makeFigure([name, value, interval]) {
  const row = document.createElement("tr");
  const heading = document.createElement("th");
  heading.scope = "row";
  heading.textContent = name;
  const cells = [value, interval].map(() => document.createElement("td"));
  cells[0].className = "number";
  [cells[0].textContent, cells[1].textContent] = [value, interval];
  row.append(heading, ...cells);
  return row;
}

/** Inspect files one after the other, in the order in which they came. */
function inspectAll(files) {
  const all = [...files];
  if (!all.length) return;
  find("errors").replaceChildren();
  queue = all.reduce((before, file) => before.then(() => inspect(file)), queue);
}

async function inspect(file) {
  document.body.classList.add("busy");
  try {
    if (facts === null) await loadFacts();
    if (facts === null) throw new Error("the inspector is not known");
    if (file.size > facts.max_upload_mb * 1e6) throw new Error(`it has more than ${facts.max_upload_mb} MB`);
    const found = await ask("api/inspect", { method: "POST", body: file, headers: { "Content-Type": BYTES } });
    const entry = { ...found, file, name: file.name, time: new Date(), url: URL.createObjectURL(file), marked: "" };
    addEntry(entry, (chosen) => showResult(chosen, facts));
    await showResult(entry, facts);
    const numbers = `probability ${formatProbability(entry.probability)}, threshold ${facts.threshold_words}`;
    announce(`${file.name}: ${nameVerdict(entry.label)}, ${numbers}`);
  } catch (error) {
    showError(`${file.name}: ${error.message}`);
  } finally {
    document.body.classList.remove("busy");
  }
}

async function mark(label) {
  const entry = findShown();
  try {
    const path = `api/correct?${new URLSearchParams({ label, said: entry.label })}`;
    const stored = await ask(path, { method: "POST", body: entry.file, headers: { "Content-Type": BYTES } });
    entry.marked = stored.label;
    entry.stored = stored.file;
    showEntryMark(entry);
    const hadFocus = find("marks").contains(document.activeElement);
    showMark(entry);
    if (hadFocus) find("marks").querySelector("button:not([hidden])").focus();
    announce(`${entry.name} is marked as ${label}`);
  } catch (error) {
    showError(`${entry.name} could not be marked: ${error.message}`);
  }
}

/** Store the painted region, and say which command uses it. */
async function saveRegion() {
  const saved = find("region-saved");
  try {
    const mask = await takeRegion();
    if (!mask) throw new Error("nothing is painted yet");
    const stored = await ask("api/region", { method: "POST", body: mask, headers: { "Content-Type": BYTES } });
    const command = document.createElement("code");
    command.textContent = stored.command;
    saved.replaceChildren(`${Math.round(100 * stored.share)}% of the image counts, stored in ${stored.file}. A new inspector uses it: `, command);
    announce(`The region is stored in ${stored.file}`);
  } catch (error) {
    showError(`The region could not be stored: ${error.message}`);
  }
}

async function startCamera() {
  if (!navigator.mediaDevices) {
    showError("The camera can be used over https, or on the machine that the server runs on. Choose files instead.");
    return;
  }
  try {
    stream = await navigator.mediaDevices.getUserMedia({
      video: { facingMode: "environment", width: { ideal: 1920 }, height: { ideal: 1080 } },
    });
  } catch (error) {
    showError(`There is no picture of a camera: ${error.name === "NotAllowedError" ? "it was not allowed" : error.message}`);
    return;
  }
  find("camera").hidden = false;
  find("camera-start").hidden = true;
  find("video").srcObject = stream;
  await find("video").play();
  find("camera-take").focus();
}

function stopCamera() {
  stream?.getTracks().forEach((track) => track.stop());
  stream = null;
  find("video").srcObject = null;
  find("camera").hidden = true;
  find("camera-start").hidden = false;
  find("camera-start").focus();
}

function takePhotograph() {
  const video = find("video");
  const canvas = document.createElement("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext("2d").drawImage(video, 0, 0);
  const moment = new Date().toISOString().slice(0, 19).replaceAll(":", "");
  canvas.toBlob((blob) => blob && inspectAll([new File([blob], `camera-${moment}.png`, { type: "image/png" })]));
}

function listen() {
  const drop = find("drop");
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
  document.addEventListener("dragleave", (event) => event.relatedTarget ?? drop.classList.remove("over"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    inspectAll(event.dataTransfer.files);
  });
  document.addEventListener("paste", (event) => inspectAll(event.clipboardData.files));
  find("files").addEventListener("change", (event) => {
    inspectAll(event.target.files);
    event.target.value = ""; // so that the same file can be chosen again
  });
  find("camera-start").addEventListener("click", startCamera);
  find("camera-stop").addEventListener("click", stopCamera);
  find("camera-take").addEventListener("click", takePhotograph);
  find("opacity").addEventListener("input", (event) => {
    const percent = event.target.value;
    find("opacity-shown").textContent = `${percent}%`;
    event.target.setAttribute("aria-valuetext", `${percent} percent`);
    drawHeat(facts);
  });
  for (const button of find("marks").querySelectorAll("button")) {
    button.addEventListener("click", () => mark(button.dataset.label));
  }
  find("shown").addEventListener("load", fitRegion);
  listenToRegion(saveRegion);
  find("download").addEventListener("click", () => downloadHistory(facts));
  find("clear").addEventListener("click", () => clearEntries(findShown()));
  find("token-form").addEventListener("submit", (event) => {
    event.preventDefault();
    sessionStorage.setItem(TOKEN, find("token").value.trim());
    find("token").value = "";
    find("errors").replaceChildren();
    loadFacts();
  });
}

listen();
loadFacts();
