// Every page works without this.
"use strict";

// "/" goes to the search field, unless somebody is writing.
document.addEventListener("keydown", (e) => {
  const field = document.getElementById("q");
  if (e.key !== "/" || e.ctrlKey || e.metaKey || e.altKey || !field || e.target.closest("input, textarea, select")) return;
  e.preventDefault();
  field.focus();
});

// load returns the page at an address. If the operator can't see it now, the browser
// loads the present page, which says why.
async function load(address) {
  const answer = await fetch(address, { headers: { Accept: "text/html" }, redirect: "manual", cache: "no-store" });
  if (answer.type === "opaqueredirect" || [401, 403, 503].includes(answer.status)) {
    location.reload();
    return null;
  }
  if (!answer.ok && answer.status !== 404) return null;
  return new DOMParser().parseFromString(await answer.text(), "text/html");
}

// Parts of a page that are marked data-live are fetched again, and replaced if they
// have changed, unless somebody is using them. Nobody looks at a hidden page, and
// one that came from a form can't be fetched again.
const refreshEvery = 5000;

async function refresh() {
  const parts = document.querySelectorAll("[data-live]");
  if (document.hidden || !parts.length) return;
  let fresh;
  try {
    fresh = await load(location.href);
  } catch {
    return; // the server restarts, or the network is gone: the next try comes
  }
  if (!fresh) return;
  if (Boolean(fresh.getElementById("over")) !== Boolean(document.getElementById("over"))) {
    location.reload(); // the session has ended
    return;
  }
  for (const part of parts) {
    const now = fresh.getElementById(part.id);
    const used = part.contains(document.activeElement) || part.querySelector("details[open]");
    if (now && !used && now.innerHTML !== part.innerHTML) part.replaceChildren(...now.childNodes);
  }
}

if (document.querySelector("[data-live]") && document.body.dataset.method === "GET") setInterval(refresh, refreshEvery);

// A search goes on by itself until it is complete, has found enough, or is stopped.
const enough = 200; // rows on the page

async function search(next) {
  const stop = document.getElementById("stop");
  const rows = document.querySelector("#found tbody");
  let stopped = false;
  stop.addEventListener("click", () => { stopped = true; }, { once: true });
  stop.hidden = false;
  next.hidden = true;
  while (!stopped && next.hasAttribute("href") && rows.children.length < enough) {
    let page;
    try {
      page = await load(next.href);
    } catch {
      page = null;
    }
    if (!page) break; // the link goes on from here
    rows.append(...page.querySelectorAll("#found tbody > tr"));
    if (rows.children.length) {
      document.getElementById("found").hidden = false;
      document.getElementById("empty")?.remove();
    }
    document.querySelector("#progress progress").value = page.querySelector("#progress progress").value;
    const further = page.getElementById("next");
    if (further) next.href = further.getAttribute("href");
    else next.removeAttribute("href");
    const text = page.getElementById("progress-text").textContent.replace(". Earlier pages may have found more", "");
    document.getElementById("progress-text").textContent = `${text} Found ${rows.children.length}.`;
  }
  if (!next.hasAttribute("href") && !rows.children.length) document.getElementById("empty").textContent = "Nothing found.";
  stop.hidden = true;
  next.hidden = !next.hasAttribute("href");
}

const further = document.querySelector("#next[data-search]");
if (further) search(further);
