"use strict";
// A map is an array of bytes, the label of each pixel, row by row; the server makes the picture of it.
const {width, height, colours, inputs} = JSON.parse(document.getElementById("data").textContent);
const get = id => document.getElementById(id);
const canvas = get("map"), ring = get("ring"), size = get("size"), seed = get("seed");
const labels = [...document.querySelectorAll("button.label")];
const HISTORY = 100;  // maps that undo goes back through
let map = new Uint8Array(width * height), past = [], label = 0, filling = false, stroke = null, number = 0;

// --- the map ---------------------------------------------------------------------------------------

function draw() {
  const image = new ImageData(width, height);
  map.forEach((value, i) => image.data.set([...colours[value], 255], 4 * i));
  canvas.getContext("2d").putImageData(image, 0, 0);
  get("undo").disabled = past.length === 0;
}

function remember() {
  past.push(map.slice());
  past = past.slice(-HISTORY);
}

function undo() {
  if (past.length === 0 || stroke) return;
  map = past.pop();
  draw();
  show();
}

// A disc, and at least the pixel that holds its centre.
function dab(x, y) {
  const radius = size.value / 2;
  const paint = (i, j) => { if (i >= 0 && i < width && j >= 0 && j < height) map[j * width + i] = label; };
  paint(Math.floor(x), Math.floor(y));
  for (let j = Math.floor(y - radius); j <= y + radius; j++)
    for (let i = Math.floor(x - radius); i <= x + radius; i++)
      if ((i + 0.5 - x) ** 2 + (j + 0.5 - y) ** 2 <= radius ** 2) paint(i, j);
}

function line([x, y], [toX, toY]) {
  const steps = Math.ceil(2 * Math.hypot(toX - x, toY - y)) || 1;
  for (let i = 0; i <= steps; i++) dab(x + (toX - x) * i / steps, y + (toY - y) * i / steps);
}

// All pixels of the same label that hang together with this one.
function fill(x, y) {
  const start = Math.floor(y) * width + Math.floor(x), before = map[start];
  if (before === undefined || before === label) return;
  remember();
  const left = [start];
  map[start] = label;
  while (left.length) {
    const at = left.pop(), column = at % width;
    const around = [at - width, at + width, ...column ? [at - 1] : [], ...column < width - 1 ? [at + 1] : []];
    for (const next of around) if (map[next] === before) { map[next] = label; left.push(next); }
  }
}

// --- the pointer -----------------------------------------------------------------------------------

function place(event) {
  const box = canvas.getBoundingClientRect();
  return [(event.clientX - box.left) / box.width * width, (event.clientY - box.top) / box.height * height];
}

function outline(event) {
  const box = canvas.getBoundingClientRect();
  ring.hidden = filling;
  ring.style.width = ring.style.height = `${size.value * box.width / width}px`;
  ring.style.left = `${event.clientX - box.left}px`;
  ring.style.top = `${event.clientY - box.top}px`;
}

canvas.addEventListener("pointerdown", event => {
  if (event.button !== 0 || stroke) return;
  event.preventDefault();
  if (filling) {
    fill(...place(event));
    draw();
    show();
    return;
  }
  remember();
  canvas.setPointerCapture(event.pointerId);
  stroke = place(event);
  dab(...stroke);
  draw();
});
canvas.addEventListener("pointermove", event => {
  outline(event);
  if (!stroke) return;
  const to = place(event);
  line(stroke, to);
  stroke = to;
  draw();
});
for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => {
  if (!stroke) return;
  stroke = null;
  show();
});
canvas.addEventListener("pointerleave", () => { ring.hidden = true; });

// --- the server ------------------------------------------------------------------------------------

function say(sentence) {
  get("notice").textContent = sentence;
  get("notice").hidden = sentence === "";
}

// What the server answers; null after a refusal, whose sentence is shown.
async function ask(address, body) {
  try {
    const answer = await fetch(address, body === undefined ? {} : {method: "POST", body});
    const sentence = answer.ok ? "" : await answer.text();
    say(answer.status >= 500 ? "The picture could not be made; the terminal of gan-explore says why." : sentence);
    return answer.ok ? answer : null;
  } catch {
    say("gan-explore does not answer; is it still running?");
    return null;
  }
}

// One picture is asked for at a time: while it is made, only the newest change waits.
let asking = false, waiting = false;
async function show() {
  waiting = true;
  if (asking) return;
  asking = true;
  while (waiting) {
    waiting = false;
    const answer = await ask(`picture?seed=${seed ? encodeURIComponent(seed.value) : 0}`, map.slice());
    if (!answer) continue;
    const made = await answer.json();
    get("picture").src = made.picture;
    get("command").textContent = made.command;
    get("save_picture").disabled = false;
  }
  asking = false;
}

async function take(answer) {
  if (!answer) return;
  remember();
  map = new Uint8Array(await answer.arrayBuffer());
  draw();
  await show();
}

async function start(from) {
  const answer = await ask(`input?number=${from}`);
  if (answer && inputs) {
    number = from;
    get("number").textContent = `${number + 1} of ${inputs}`;
  }
  await take(answer);
}

function save(address, name) {
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  link.click();
}

// --- the controls ----------------------------------------------------------------------------------

function press(buttons, chosen) {
  buttons.forEach(button => button.setAttribute("aria-pressed", button === chosen));
}

for (const [i, button] of labels.entries()) {
  button.querySelector(".swatch").style.background = `rgb(${colours[i]})`;
  button.addEventListener("click", () => { label = i; press(labels, button); });
}
for (const tool of ["brush", "fill"]) get(tool).addEventListener("click", () => {
  filling = tool === "fill";
  press([get("brush"), get("fill")], get(tool));
});
const tell = () => { get("pixels").textContent = `${size.value} px`; };
size.addEventListener("input", tell);
get("undo").addEventListener("click", undo);
document.addEventListener("keydown", event => {
  if ((event.ctrlKey || event.metaKey) && event.key === "z" && event.target !== seed) {
    event.preventDefault();
    undo();
  }
});
if (inputs) {
  get("previous").addEventListener("click", () => start((number + inputs - 1) % inputs));
  get("next").addEventListener("click", () => start((number + 1) % inputs));
}
get("upload").addEventListener("change", async event => {
  const [file] = event.target.files;
  event.target.value = "";  // the same file may be taken again
  if (file) await take(await ask("upload", file));
});
if (seed) seed.addEventListener("change", show);
get("save_map").addEventListener("click", async () => {
  const answer = await ask("map", map.slice());
  if (!answer) return;
  const address = URL.createObjectURL(await answer.blob());
  save(address, "labels.png");
  setTimeout(() => URL.revokeObjectURL(address), 1000);
});
get("save_picture").addEventListener("click", () => save(get("picture").src, "picture.png"));

canvas.width = width;
canvas.height = height;
size.max = Math.max(1, Math.round(Math.min(width, height) / 2));
size.value = Math.max(1, Math.round(Math.min(width, height) / 12));
tell();
press(labels, labels[0]);
start(0).then(() => {
  past = [];  // there is nothing before the first map
  draw();
});
