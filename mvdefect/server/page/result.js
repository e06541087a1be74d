// What was said of one photograph: verdict, figures, and the heatmap over it.

const WORDS = { good: "Good", defective: "Defective", review: "A person has to look" };
const ICONS = { good: "✓", defective: "✕", review: "?" };
const TONES = { good: "fine", defective: "stop", review: "care" };
const LARGEST_CANVAS_PX = 1024;
const ROOM_PX = { width: 480, height: 400 };
const LARGEST_ENLARGEMENT = 4;
const BOX = { inner: "#00c8ff", outer: "#000" };

const find = (id) => document.getElementById(id);
let shown = null;
let painted = null;

export const nameVerdict = (label) => WORDS[label] ?? label;
export const nameIcon = (label) => ICONS[label] ?? "";

/** Write a probability with three decimals, and never as the 0 or 1 that it is not. */
export function formatProbability(value) {
  if (value > 0 && value < 0.0005) return "<0.001";
  if (value >= 0.9995 && value < 1) return ">0.999";
  return value.toFixed(3);
}

/** Write a novelty with four digits. */
export const formatNovelty = (value) => String(Number(value.toPrecision(4)));

/** Show an entry of the history in the card. */
export async function showResult(entry, facts) {
  shown = entry;
  const card = find("result");
  card.hidden = false;
  card.className = `verdict ${TONES[entry.label] ?? ""}`;
  find("word").textContent = nameVerdict(entry.label) + (entry.note ? `: ${entry.note}` : "");
  find("icon").textContent = nameIcon(entry.label);
  find("file").textContent = entry.name;
  find("probability").textContent = formatProbability(entry.probability);
  find("threshold").textContent = facts.threshold_words;
  find("novelty").textContent = formatNovelty(entry.novelty);
  find("threshold-words").textContent = facts.threshold_detail;
  const mean = typeof entry.mean_novelty === "number" ? `mean ${formatNovelty(entry.mean_novelty)}; ` : "";
  find("novelty-words").textContent = mean + facts.novelty_detail;
  showMark(entry);
  showRegions(entry.regions);
  const image = find("shown");
  image.alt = `The photograph ${entry.name}`;
  image.src = entry.url;
  await image.decode().catch(() => undefined);
  if (shown === entry) {
    fitPhotograph(image);
    painted = paintHeat(entry.heatmap, facts);
    drawHeat(facts);
  }
}

/** Show a photograph as large as there is room, a small one enlarged. */
function fitPhotograph(image) {
  const { naturalWidth: width, naturalHeight: height } = image;
  if (!width) return;
  const scale = Math.min(ROOM_PX.width / width, ROOM_PX.height / height, LARGEST_ENLARGEMENT);
  image.style.width = `${Math.round(width * scale)}px`;
}

/** Show which corrections can be made, or which one was. */
export function showMark(entry) {
  if (shown !== entry) return;
  for (const button of find("marks").querySelectorAll("button")) {
    const isSame = button.dataset.label === (entry.marked || entry.label);
    button.hidden = isSame;
    button.textContent = `${entry.marked ? "No" : "Mark as wrong"}: it is ${button.dataset.label}`;
  }
  find("marked").textContent = entry.marked ? `Marked as ${entry.marked}, and stored in ${entry.stored}.` : "";
}

export const findShown = () => shown;

/** Draw the heatmap as strongly as the slider says. */
export function drawHeat(facts) {
  const canvas = find("heat");
  const image = find("shown");
  const width = image.naturalWidth || 1;
  const height = image.naturalHeight || 1;
  const scale = Math.min(1, LARGEST_CANVAS_PX / Math.max(width, height));
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  const context = canvas.getContext("2d");
  drawHeatmap(context, findPhotograph(width, height, facts));
  drawBoxes(context, shown?.regions ?? [], scale);
}

function drawHeatmap(context, box) {
  if (!painted) return;
  const percent = Number(find("opacity").value);
  context.globalAlpha = percent / 100;
  context.imageSmoothingQuality = "high";
  context.drawImage(
    painted,
    box.left * painted.width, box.top * painted.height, box.width * painted.width, box.height * painted.height,
    0, 0, context.canvas.width, context.canvas.height,
  );
  context.globalAlpha = 1;
}

/** Draw the box of each suspicious region, whose number stands in the list. */
function drawBoxes(context, regions, scale) {
  const { width, height } = context.canvas;
  const line = Math.max(1, Math.max(width, height) / 300);
  context.font = `${Math.max(10, 6 * line)}px sans-serif`;
  regions.forEach((region, place) => {
    const box = [region.x * scale, region.y * scale, region.width * scale, region.height * scale];
    for (const [colour, thickness] of [[BOX.outer, 3 * line], [BOX.inner, line]]) {
      context.strokeStyle = colour;
      context.lineWidth = thickness;
      context.strokeRect(...box);
    }
    if (regions.length < 2) return;
    context.lineWidth = 3 * line;
    context.strokeStyle = BOX.outer;
    context.fillStyle = BOX.inner;
    const corner = [box[0] + 2 * line, box[1] + 8 * line];
    context.strokeText(String(place + 1), ...corner);
    context.fillText(String(place + 1), ...corner);
  });
}

/** Write where the suspicious regions lie and how large they are, in millimetres where those are known. */
function showRegions(regions) {
  const isKnown = Array.isArray(regions);
  const count = isKnown ? regions.length : 0;
  const noun = count === 1 ? "1 suspicious region" : `${count || "No"} suspicious regions`;
  find("regions-title").textContent = isKnown ? `${noun}${count ? ", in pixels of the photograph:" : "."}` : "";
  find("regions").replaceChildren(...(regions ?? []).map((region) => {
    const item = document.createElement("li");
    const size = `${region.width} × ${region.height}`;
    const real = region.width_mm === undefined ? "" : ` (${formatNovelty(region.width_mm)} × ${formatNovelty(region.height_mm)} mm)`;
    item.textContent = `${size}${real} at ${region.x}, ${region.y}; peak ${formatNovelty(region.peak)}`;
    return item;
  }));
}

/** Paint each step of a heatmap in its colour, the more suspicious the less transparent. */
function paintHeat(heatmap, facts) {
  if (!heatmap) return null;
  const steps = Uint8Array.from(atob(heatmap.steps), (sign) => sign.charCodeAt(0));
  const canvas = document.createElement("canvas");
  canvas.width = heatmap.width;
  canvas.height = heatmap.height;
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(heatmap.width, heatmap.height);
  steps.forEach((step, place) => pixels.data.set([...facts.colours[step], step], 4 * place));
  context.putImageData(pixels, 0, 0);
  return canvas;
}

/** Return where in a heatmap the photograph lies, as shares: the rest of a letterbox is padding. */
function findPhotograph(width, height, facts) {
  if (facts.resize === "stretch") return { left: 0, top: 0, width: 1, height: 1 };
  const [rows, columns] = facts.image_size_px;
  const scale = Math.min(rows / height, columns / width);
  const fit = (length) => Math.max(1, Math.round(length * scale));
  const [across, down] = [fit(width), fit(height)];
  return {
    left: Math.floor((columns - across) / 2) / columns,
    top: Math.floor((rows - down) / 2) / rows,
    width: across / columns,
    height: down / rows,
  };
}
