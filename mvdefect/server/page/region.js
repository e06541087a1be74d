// The region that counts, painted with a brush over the photograph that is shown.

const LARGEST_PX = 2048; // longer side of the mask; a mask of the same shape fits any size
const COLOUR = "rgb(0 140 220)";
const SHOWN_OPACITY = 0.45;

const find = (id) => document.getElementById(id);
let mask = null; // what is painted, opaque where it counts
let last = null; // where the brush was, in pixels of the mask

const isOpen = () => !find("region-tools").hidden;

/** Begin to paint, or stop; what was painted stays. */
export function toggleRegion() {
  find("region-tools").hidden = isOpen();
  find("region-start").setAttribute("aria-expanded", String(isOpen()));
  fitRegion();
}

/** Fit the mask to the photograph that is shown; one of another shape begins anew. */
export function fitRegion() {
  const image = find("shown");
  const canvas = find("region");
  canvas.hidden = !isOpen() || !image.naturalWidth;
  if (canvas.hidden) return;
  const scale = Math.min(1, LARGEST_PX / Math.max(image.naturalWidth, image.naturalHeight));
  const width = Math.max(1, Math.round(image.naturalWidth * scale));
  const height = Math.max(1, Math.round(image.naturalHeight * scale));
  if (mask?.width !== width || mask?.height !== height) {
    mask = document.createElement("canvas");
    [mask.width, mask.height] = [canvas.width, canvas.height] = [width, height];
  }
  draw();
}

function draw() {
  const canvas = find("region");
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.globalAlpha = SHOWN_OPACITY;
  context.drawImage(mask, 0, 0);
  context.globalAlpha = 1;
}

/** Let all of the photograph count, or nothing of it. */
function fill(isCounted) {
  const context = mask.getContext("2d");
  context.globalCompositeOperation = isCounted ? "source-over" : "destination-out";
  context.fillStyle = COLOUR;
  context.fillRect(0, 0, mask.width, mask.height);
  draw();
}

function paint(event) {
  const box = find("region").getBoundingClientRect();
  const place = {
    x: ((event.clientX - box.left) / box.width) * mask.width,
    y: ((event.clientY - box.top) / box.height) * mask.height,
  };
  const context = mask.getContext("2d");
  context.globalCompositeOperation = find("region-erase").checked ? "destination-out" : "source-over";
  context.strokeStyle = COLOUR;
  context.lineCap = context.lineJoin = "round";
  context.lineWidth = (Number(find("region-width").value) / 100) * Math.max(mask.width, mask.height);
  context.beginPath();
  context.moveTo((last ?? place).x, (last ?? place).y);
  context.lineTo(place.x + 0.01, place.y); // a line of no length is not drawn by every browser
  context.stroke();
  last = place;
  draw();
}

/** Return the mask as a PNG, white where it counts; null where nothing was painted. */
export function takeRegion() {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [mask.width, mask.height];
  const context = canvas.getContext("2d");
  const pixels = mask.getContext("2d").getImageData(0, 0, mask.width, mask.height);
  let counted = 0;
  for (let place = 0; place < pixels.data.length; place += 4) {
    const isCounted = pixels.data[place + 3] > 127;
    counted += isCounted;
    pixels.data.fill(isCounted ? 255 : 0, place, place + 3);
    pixels.data[place + 3] = 255;
  }
  context.putImageData(pixels, 0, 0);
  return counted ? new Promise((resolve) => canvas.toBlob(resolve)) : null;
}

/** Listen to brush and buttons; `save` is called with nothing when the mask is to be stored. */
export function listenToRegion(save) {
  const canvas = find("region");
  canvas.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    canvas.setPointerCapture(event.pointerId);
    last = null;
    paint(event);
  });
  canvas.addEventListener("pointermove", (event) => canvas.hasPointerCapture(event.pointerId) && paint(event));
  find("region-start").addEventListener("click", toggleRegion);
  find("region-all").addEventListener("click", () => fill(true));
  find("region-none").addEventListener("click", () => fill(false));
  find("region-save").addEventListener("click", save);
}
