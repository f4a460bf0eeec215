// Refreshes the figures of the overview. Without this the page shows those of
// its loading.
"use strict";

const figures = document.getElementById("figures");
const state = document.getElementById("figures-state");

// refresh replaces the parts that have changed, and nothing around them: a table
// stays open, and the focus stays where it is.
async function refresh() {
  const response = await fetch(figures.dataset.live, { headers: { Accept: "text/html" }, redirect: "manual" });
  if (response.type === "opaqueredirect" || response.status === 401) return stop("You are signed out. Reload the page to sign in.");
  if (!response.ok) throw new Error(response.status);
  const next = new DOMParser().parseFromString(await response.text(), "text/html");
  const parts = [...next.querySelectorAll("[data-part]")];
  const here = new Map([...figures.querySelectorAll("[data-part]")].map((part) => [part.dataset.part, part]));
  if (parts.length !== here.size || parts.some((part) => !here.has(part.dataset.part))) return location.reload(); // a reload of the server changed the applications
  for (const part of parts) {
    const old = here.get(part.dataset.part);
    if (old.innerHTML !== part.innerHTML) old.replaceChildren(...part.childNodes);
  }
  tell("");
}

let stopped = false;

function stop(text) {
  stopped = true;
  tell(text);
}

function tell(text) {
  if (state.textContent !== text) state.textContent = text;
  state.hidden = text === "";
}

async function run() {
  for (;;) {
    await new Promise((done) => setTimeout(done, 1000 * figures.dataset.every));
    if (document.hidden) await new Promise((done) => document.addEventListener("visibilitychange", done, { once: true }));
    try {
      await refresh();
    } catch {
      tell("The server or its store doesn't answer. These figures are old; the page tries again.");
    }
    if (stopped) return;
  }
}

if (figures) run();
