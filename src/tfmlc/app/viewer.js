// Before and after of one image. The place and the zoom stay when another file or another result is shown.
const find = (name) => element.querySelector(name);
const section = find(".viewer"), stage = find(".stage"), range = find(".split input");
const left = find(".left"), right = find(".right"), edge = find(".edge"), names = find(".name"), side = find(".side");
const MOST_HEIGHT = 0.65, STEP = 1.25, LARGEST = 8, NEAR = 24;
const place = { zoom: 1, x: 0.5, y: 0.5 };  // zoom 1 fits; x, y: the part of the image in the middle of the stage
let items = [], shown = 0;

const clamp = (value, low, high) => Math.min(Math.max(value, low), Math.max(low, high));

function sizes() {
  const width = stage.clientWidth, ratio = (right.naturalHeight || 1) / (right.naturalWidth || 1);
  const height = Math.min(width * ratio, window.innerHeight * MOST_HEIGHT);
  const fit = Math.min(width, height / ratio);
  return { width, height, w: fit * place.zoom, h: fit * ratio * place.zoom, fit };
}

function draw() {
  if (section.hidden || !right.naturalWidth) return;
  place.zoom = clamp(place.zoom, 1, Math.max(LARGEST, LARGEST * right.naturalWidth / sizes().fit));
  const { width, height, w, h } = sizes();
  const halves = { x: Math.min(0.5, width / w / 2), y: Math.min(0.5, height / h / 2) };
  for (const axis of ["x", "y"]) place[axis] = clamp(place[axis], halves[axis], 1 - halves[axis]);
  const x = width / 2 - place.x * w, y = height / 2 - place.y * h;
  stage.style.height = `${height}px`;
  for (const image of [left, right])
    Object.assign(image.style, { left: `${x}px`, top: `${y}px`, width: `${w}px`, height: `${h}px` });
  const start = Math.max(0, x), stop = Math.min(width, x + w);
  const at = start + (stop - start) * range.value / 100;
  left.style.clipPath = `inset(0 ${Math.max(0, x + w - at)}px 0 0)`;
  edge.style.left = `${at}px`;
  stage.classList.toggle("zoomed", place.zoom > 1);
  find(".scale").textContent = `${Math.round(w / right.naturalWidth * 100)} %`;
}

function zoom(factor, x, y) {  // x, y: the point of the stage that stays where it is
  const was = sizes();
  const before = place.zoom;
  place.zoom = clamp(place.zoom * factor, 1, Math.max(LARGEST, LARGEST * right.naturalWidth / was.fit));
  const now = place.zoom / before;
  place.x += (x - was.width / 2) / was.w * (1 - 1 / now);
  place.y += (y - was.height / 2) / was.h * (1 - 1 / now);
  draw();
}

function zoomInMiddle(factor) {
  const { width, height } = sizes();
  zoom(factor, width / 2, height / 2);
}

function fit() {
  Object.assign(place, { zoom: 1, x: 0.5, y: 0.5 });
  draw();
}

function move(x, y) {
  const { w, h } = sizes();
  place.x -= x / w;
  place.y -= y / h;
  draw();
}

function show() {
  section.hidden = !items.length;
  if (!items.length) return;
  const item = items[shown = clamp(shown, 0, items.length - 1)];
  names.replaceChildren(...items.map((one, number) => new Option(one.name, number, false, number === shown)));
  find(".names").hidden = items.length < 2;
  find(".sides").hidden = !item.map;
  const isMap = Boolean(item.map) && side.value === "map";
  find(".legend").hidden = !isMap;
  find(".tag.before").textContent = isMap ? "blur map" : "before";
  left.alt = isMap ? `${item.name}: where it is blurred` : `${item.name}, before`;
  right.alt = `${item.name}, after`;
  for (const [image, address] of [[left, isMap ? item.map : item.before], [right, item.after]])
    if (image.getAttribute("src") !== address) image.src = address;
  draw();
}

function splitAt(clientX) {
  const box = stage.getBoundingClientRect(), { width, w } = sizes();
  const start = Math.max(0, width / 2 - place.x * w), stop = Math.min(width, width / 2 - place.x * w + w);
  range.value = clamp((clientX - box.left - start) / (stop - start) * 100, 0, 100);
  draw();
}

const pointers = new Map();
let splits = false;
stage.addEventListener("pointerdown", (event) => {
  if (!pointers.size)
    splits = place.zoom === 1 || Math.abs(event.clientX - edge.getBoundingClientRect().left) < NEAR;
  pointers.set(event.pointerId, event);
  stage.setPointerCapture(event.pointerId);
  if (splits && pointers.size === 1) splitAt(event.clientX);
});
stage.addEventListener("pointermove", (event) => {
  const last = pointers.get(event.pointerId);
  if (!last) return;
  pointers.set(event.pointerId, event);
  if (pointers.size === 2) {
    const other = [...pointers.values()].find((one) => one.pointerId !== event.pointerId);
    const apart = (one) => Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY);
    const box = stage.getBoundingClientRect();
    const middle = [(event.clientX + other.clientX) / 2 - box.left, (event.clientY + other.clientY) / 2 - box.top];
    zoom(apart(event) / Math.max(1, apart(last)), ...middle);
  } else if (splits) splitAt(event.clientX);
  else move(event.clientX - last.clientX, event.clientY - last.clientY);
});
for (const name of ["pointerup", "pointercancel"])
  stage.addEventListener(name, (event) => pointers.delete(event.pointerId));
stage.addEventListener("wheel", (event) => {
  event.preventDefault();
  const box = stage.getBoundingClientRect();
  zoom(event.deltaY < 0 ? STEP : 1 / STEP, event.clientX - box.left, event.clientY - box.top);
}, { passive: false });
const KEYS = {
  ArrowLeft: () => move(40, 0), ArrowRight: () => move(-40, 0), ArrowUp: () => move(0, 40), ArrowDown: () => move(0, -40),
  "+": () => zoomInMiddle(STEP), "=": () => zoomInMiddle(STEP), "-": () => zoomInMiddle(1 / STEP), 0: fit,
};
stage.addEventListener("keydown", (event) => {
  if (!KEYS[event.key] || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  KEYS[event.key]();
});
find(".in").addEventListener("click", () => zoomInMiddle(STEP));
find(".out").addEventListener("click", () => zoomInMiddle(1 / STEP));
find(".fit").addEventListener("click", fit);
range.addEventListener("input", draw);
side.addEventListener("change", show);
names.addEventListener("change", () => { shown = Number(names.value); show(); });
right.addEventListener("load", draw);
new ResizeObserver(draw).observe(element);

function take() {
  const name = items.length ? items[shown].name : "";
  items = (props.value && props.value.items) || [];
  shown = Math.max(0, items.findIndex((one) => one.name === name));
  show();
}
watch("value", take);
take();
