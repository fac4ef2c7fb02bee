// The radiograph on a canvas: window and level, zoom, pan, invert; regions above it, linked to the table; waiting.
const study = document.querySelector(".reading");
const data = JSON.parse(document.getElementById("study-data").textContent);
const stage = document.getElementById("stage");
const canvas = document.getElementById("canvas");
const overlay = document.getElementById("overlay");
const level = document.getElementById("level");
const width = document.getElementById("window");
const COLOURS = { MCP: "#56b4e9", PIP: "#009e73", DIP: "#f0e442", wrist: "#e69f00" };
const SVG = "http://www.w3.org/2000/svg";

const view = { centre: 0, span: 1, inverted: false, zoom: 1, x: 0, y: 0 };
let picture = null;
let start = null;
let frame = 0;

async function load() {
  const answer = await fetch(`/studies/${study.dataset.study}/pixels`).catch(() => null);
  if (!answer?.ok) {
    const problem = await answer?.json().catch(() => null);
    document.getElementById("wait").textContent = problem?.error ?? stage.dataset.lost;
    return;
  }
  const grey = new Uint16Array(await answer.arrayBuffer());
  const columns = Number(answer.headers.get("X-Width"));
  const rows = Number(answer.headers.get("X-Height"));
  const [low, high] = answer.headers.get("X-Window").split(",").map(Number);
  const buffer = new OffscreenCanvas(columns, rows);
  let top = 0;
  for (const value of grey) if (value > top) top = value;
  picture = { grey, columns, rows, top, buffer, context: buffer.getContext("2d"), image: new ImageData(columns, rows) };
  start = { centre: (low + high) / 2, span: high - low, inverted: answer.headers.get("X-Inverted") === "1" };
  document.getElementById("wait").hidden = true;
  reset();
  drawRegions();
}

function reset() {
  Object.assign(view, start, { zoom: 1, x: 0, y: 0 });
  level.value = 500;
  width.value = 500;
  document.getElementById("invert").setAttribute("aria-pressed", String(view.inverted));
  window_();
}

// Grey values become 8 bit by a table; only then does the picture move and scale.
function window_() {
  const low = view.centre - view.span / 2;
  const table = new Uint8ClampedArray(picture.top + 1);
  for (let value = 0; value <= picture.top; value++) {
    const share = (255 * (value - low)) / view.span;
    table[value] = view.inverted ? 255 - share : share;
  }
  const words = new Uint32Array(picture.image.data.buffer);
  for (let i = 0; i < picture.grey.length; i++) words[i] = 0xff000000 | (table[picture.grey[i]] * 0x010101);
  picture.context.putImageData(picture.image, 0, 0);
  redraw();
}

function slide() {
  view.centre = start.centre + ((500 - level.value) / 500) * start.span;
  view.span = start.span * 4 ** ((500 - width.value) / 500);
  window_();
}

function redraw() {
  cancelAnimationFrame(frame);
  frame = requestAnimationFrame(draw);
}

// Pixels of the stage for one pixel of the picture, and where the picture's corner lies.
function place() {
  const { clientWidth, clientHeight } = stage;
  const scale = Math.min(clientWidth / picture.columns, clientHeight / picture.rows) * view.zoom;
  return {
    scale,
    left: (clientWidth - picture.columns * scale) / 2 + view.x,
    top: (clientHeight - picture.rows * scale) / 2 + view.y,
  };
}

function draw() {
  if (!picture) return;
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(stage.clientWidth * ratio);
  canvas.height = Math.round(stage.clientHeight * ratio);
  const { scale, left, top } = place();
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = scale * ratio < 3;
  context.imageSmoothingQuality = "high";
  context.setTransform(scale * ratio, 0, 0, scale * ratio, left * ratio, top * ratio);
  context.drawImage(picture.buffer, 0, 0);
  placeRegions(scale, left, top);
}

function zoom(factor, x = stage.clientWidth / 2, y = stage.clientHeight / 2) {
  const before = view.zoom;
  view.zoom = Math.min(Math.max(before * factor, 0.5), 20);
  const share = view.zoom / before;
  view.x = (x - stage.clientWidth / 2) * (1 - share) + view.x * share;
  view.y = (y - stage.clientHeight / 2) * (1 - share) + view.y * share;
  redraw();
}

function pan(x, y) {
  view.x += x;
  view.y += y;
  redraw();
}

function invert() {
  view.inverted = !view.inverted;
  document.getElementById("invert").setAttribute("aria-pressed", String(view.inverted));
  window_();
}

// Regions: one group each, in pixels of the original radiograph.
function drawRegions() {
  for (const region of data.regions) {
    const group = document.createElementNS(SVG, "g");
    group.dataset.region = region.key;
    const box = document.createElementNS(SVG, "rect");
    box.setAttribute("stroke", COLOURS[region.group]);
    const name = document.createElementNS(SVG, "text");
    name.textContent = region.label;
    const title = document.createElementNS(SVG, "title");
    title.textContent = `${region.name}: ${region.age}`;
    group.append(box, name, title);
    overlay.append(group);
    group.addEventListener("pointerenter", () => mark(region.key, true));
    group.addEventListener("pointerleave", () => mark(region.key, false));
  }
  for (const row of document.querySelectorAll("tr[data-region]")) {
    const { region } = row.dataset;
    for (const name of ["pointerenter", "focusin"]) row.addEventListener(name, () => mark(region, true));
    for (const name of ["pointerleave", "focusout"]) row.addEventListener(name, () => mark(region, false));
    row.querySelector("button").addEventListener("click", () => show(region));
  }
}

function placeRegions(scale, left, top) {
  const shrink = factor();
  const font = Math.round(0.8 * parseFloat(getComputedStyle(document.documentElement).fontSize));
  overlay.setAttribute("viewBox", `0 0 ${stage.clientWidth} ${stage.clientHeight}`);
  const taken = [];
  // Names that are much wider than their boxes would hide the hand: then only the chosen region's is shown.
  const [first] = data.regions;
  const wide = first ? first.label.length * font * 0.62 : 0;
  overlay.classList.toggle("small", Boolean(first) && (first.box[2] - first.box[0]) * shrink * scale < 0.6 * wide);
  for (const [index, group] of [...overlay.children].entries()) {
    const [x1, y1, x2, y2] = data.regions[index].box.map((value) => value * shrink * scale);
    const [box, name] = group.children;
    for (const [key, value] of Object.entries({ x: left + x1, y: top + y1, width: x2 - x1, height: y2 - y1 })) {
      box.setAttribute(key, value);
    }
    name.setAttribute("font-size", font);
    const [[x, y], free] = freePlace(left + x1, top + y1, left + x2, top + y2, name.textContent.length * font * 0.62, font, taken);
    name.classList.toggle("crowded", !free); // two names over each other are no name: it shows when it is chosen
    name.setAttribute("x", x);
    name.setAttribute("y", y);
  }
}

// The first place of a name at its box that no other name has: inside above, inside below, above, below, beside.
// Where there is none, the first of them, and false.
function freePlace(x1, y1, x2, y2, wide, font, taken) {
  const places = [
    [x1 + 3, y1 + font + 1],
    [x1 + 3, y2 - 4],
    [x1 + 3, y1 - 4],
    [x1 + 3, y2 + font + 1],
    [x2 + 4, (y1 + y2 + font) / 2],
    [x1 - wide - 4, (y1 + y2 + font) / 2],
  ].map(([x, y]) => [Math.max(2, Math.min(x, stage.clientWidth - wide)), y]); // whole, wherever the box lies
  const covers = ([x, y], other) => Math.abs(x - other[0]) < wide && Math.abs(y - other[1]) < font + 2;
  const place = places.find((each) => !taken.some((other) => covers(each, other)));
  if (place) taken.push(place);
  return [place ?? places[0], Boolean(place)];
}

// Pixels of the picture for one of the original: large radiographs were reduced for the viewer.
function factor() {
  return data.width ? picture.columns / data.width : 1;
}

function mark(key, on) {
  for (const element of document.querySelectorAll(`[data-region="${key}"]`)) element.classList.toggle("active", on);
}

// Centres a region and brings it nearer.
function show(key) {
  const region = data.regions.find((each) => each.key === key);
  const shrink = factor();
  view.zoom = 2.5;
  view.x = view.y = 0;
  const { scale, left, top } = place();
  const [x1, y1, x2, y2] = region.box.map((value) => value * shrink * scale);
  pan(stage.clientWidth / 2 - left - (x1 + x2) / 2, stage.clientHeight / 2 - top - (y1 + y2) / 2);
}

// Correcting: the chosen region moves with the pointer or the arrow keys; what was moved goes into the form.
const edit = document.getElementById("edit");
const which = document.getElementById("which");
const really = document.getElementById("really");
const corrected = data.corrected;
let dragged = null;

function editing() {
  return edit?.getAttribute("aria-pressed") === "true";
}

function regionOf(name) {
  return data.regions.find((region) => region.name === name);
}

function changed(...names) {
  for (const name of names) corrected[name] = regionOf(name).box;
  document.getElementById("boxes").value = JSON.stringify(corrected);
  redraw();
}

function choose(name) {
  if (!editing()) return;
  mark(which.value, false);
  which.value = really.value = name;
  mark(name, true);
}

function move(name, x, y) {
  const by = 1 / (place().scale * factor());
  const region = regionOf(name);
  const [x1, y1, x2, y2] = region.box;
  const right = Math.min(Math.max(by * x, -x1), data.width - x2);
  const down = Math.min(Math.max(by * y, -y1), data.height - y2);
  region.box = [x1 + right, y1 + down, x2 + right, y2 + down];
  changed(name);
}

edit?.addEventListener("click", () => {
  edit.setAttribute("aria-pressed", String(!editing()));
  stage.classList.toggle("editing", editing());
  document.getElementById("naming").hidden = !editing();
  document.getElementById("redo").hidden = !editing();
  document.getElementById("boxes").value = JSON.stringify(corrected);
  if (editing()) choose(which.value);
  else mark(which.value, false);
});
which?.addEventListener("change", () => choose(which.value));
really?.addEventListener("change", () => {
  const [first, second] = [regionOf(which.value), regionOf(really.value)];
  [first.box, second.box] = [second.box, first.box];
  changed(first.name, second.name);
  choose(second.name);
});
document.getElementById("undo")?.addEventListener("click", () => {
  document.getElementById("boxes").value = "{}";
  document.getElementById("correct").submit();
});

// Hands: one finger or the mouse pans, two fingers zoom, the wheel zooms, the right button sets the window.
const fingers = new Map();
stage.addEventListener("contextmenu", (event) => event.preventDefault());
stage.addEventListener("pointerdown", (event) => {
  fingers.set(event.pointerId, event);
  const touched = event.target.closest("g[data-region]");
  dragged = editing() && touched ? touched.dataset.region : null;
  if (dragged) choose(dragged);
  stage.setPointerCapture(event.pointerId);
});
for (const name of ["pointerup", "pointercancel"]) {
  stage.addEventListener(name, (event) => fingers.delete(event.pointerId));
}
stage.addEventListener("pointermove", (event) => {
  const before = fingers.get(event.pointerId);
  if (!before || !picture) return;
  const [x, y] = [event.clientX - before.clientX, event.clientY - before.clientY];
  if (fingers.size === 2) {
    const other = [...fingers.values()].find((each) => each.pointerId !== event.pointerId);
    const distance = (one) => Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY);
    zoom(distance(event) / Math.max(distance(before), 1));
  } else if (dragged) move(dragged, x, y);
  else if (before.buttons === 2 || event.shiftKey) {
    level.value = Number(level.value) - y * 2;
    width.value = Number(width.value) + x * 2;
    slide();
  } else pan(x, y);
  fingers.set(event.pointerId, event);
});
stage.addEventListener(
  "wheel",
  (event) => {
    event.preventDefault();
    const edge = stage.getBoundingClientRect();
    if (picture) zoom(Math.exp(-event.deltaY / 400), event.clientX - edge.left, event.clientY - edge.top);
  },
  { passive: false },
);
const nudge = (slider, by) => {
  slider.value = Number(slider.value) + by;
  slide();
};
const step = (x, y) => (editing() ? move(which.value, x * 2, y * 2) : pan(-30 * x, -30 * y));
const KEYS = {
  ArrowLeft: () => step(-1, 0),
  ArrowRight: () => step(1, 0),
  ArrowUp: () => step(0, -1),
  ArrowDown: () => step(0, 1),
  "+": () => zoom(1.25),
  "-": () => zoom(0.8),
  i: invert,
  r: reset,
  w: () => nudge(level, 25),
  s: () => nudge(level, -25),
  d: () => nudge(width, 25),
  a: () => nudge(width, -25),
};
stage.addEventListener("keydown", (event) => {
  const action = KEYS[event.key];
  if (!action || !picture || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  action();
});
for (const slider of [level, width]) slider.addEventListener("input", () => picture && slide());
for (const [id, action] of Object.entries({
  "zoom-in": () => zoom(1.25),
  "zoom-out": () => zoom(0.8),
  reset,
  invert,
})) {
  document.getElementById(id).addEventListener("click", () => picture && action());
}
document.getElementById("regions")?.addEventListener("click", (event) => {
  const on = event.currentTarget.getAttribute("aria-pressed") !== "true";
  event.currentTarget.setAttribute("aria-pressed", String(on));
  overlay.toggleAttribute("hidden", !on);
});
new ResizeObserver(redraw).observe(stage);

// While the study waits or is read, ask at first often, then twice a second, and load the page again at the end.
async function wait(pause) {
  const job = await fetch(`/api/v1/jobs/${study.dataset.study}`)
    .then((answer) => (answer.ok ? answer.json() : null))
    .catch(() => null); // the service is away for a moment: asked again
  const state = job?.state ?? study.dataset.state;
  if (!["queued", "reading"].includes(state)) location.reload();
  else setTimeout(wait, pause, Math.min(1.3 * pause, 500));
}
if (["queued", "reading"].includes(study.dataset.state)) setTimeout(wait, 100, 100);

load();
