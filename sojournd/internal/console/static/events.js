// Adds events to the list as they happen. Without this the page shows those of
// its loading.
"use strict";

const list = document.getElementById("tail");
const empty = document.getElementById("tail-empty");
const state = document.getElementById("tail-state");
const button = document.getElementById("tail-pause");
const most = 500; // rows that wait during a pause; the page keeps twice as many

let waiting = []; // rows as HTML, the oldest first
let missed = 0; // rows that a pause dropped
let paused = false;
let drawing = false;

function tell(text) {
  if (state.textContent !== text) state.textContent = text;
}

// draw shows what waits, ten times a second: each time costs the browser about 10
// ms, for one row as for many. The server has escaped the rows.
function draw() {
  drawing = false;
  if (paused || waiting.length + missed === 0) return;
  const rows = document.createElement("template");
  rows.innerHTML = waiting.reverse().join("");
  if (missed > 0) {
    const gap = document.createElement("li");
    gap.className = "bad";
    gap.textContent = `${missed} events came during the pause and aren't shown. The download has them.`;
    rows.content.append(gap);
  }
  waiting = [];
  missed = 0;
  list.prepend(rows.content);
  while (list.childElementCount > 2 * most) list.lastElementChild.remove();
  empty.hidden = true;
}

function label() {
  const n = waiting.length + missed;
  button.textContent = paused ? (n > 0 ? `Resume (${n} new)` : "Resume") : "Pause";
}

function add(row) {
  waiting.push(row);
  if (waiting.length > most) {
    waiting.shift();
    missed += paused ? 1 : 0;
  }
  if (paused) label();
  else if (!drawing) {
    drawing = true;
    setTimeout(draw, 100);
  }
}

button.addEventListener("click", () => {
  paused = !paused;
  tell(paused ? "Paused" : "Live");
  if (!paused) draw();
  label();
});

const stream = new URL(list.dataset.stream, location.href);

// A browser connects again by itself, unless the server has answered with an
// error.
function connect() {
  const source = new EventSource(stream);
  source.onopen = () => tell(paused ? "Paused" : "Live");
  source.addEventListener("row", (e) => {
    if (e.lastEventId) stream.searchParams.set("after", e.lastEventId);
    add(e.data);
  });
  source.onerror = async () => {
    tell("The connection was lost. The page tries again.");
    if (source.readyState !== EventSource.CLOSED) return;
    const page = await fetch(location.href, { method: "HEAD", redirect: "manual" }).catch(() => null);
    if (page && (page.type === "opaqueredirect" || page.status === 401)) return tell("You are signed out. Reload the page to sign in.");
    if (page && (page.status === 403 || page.status === 404)) return tell("You may no longer look at this application.");
    setTimeout(connect, 3000);
  };
}

button.hidden = false;
tell("Connecting");
connect();
