// Waits until the browser has shown that the session is its own, and then loads
// this page again, which leads back. Without this script the page does so by
// itself every few seconds.
"use strict";
(() => {
  const wait = document.getElementById("wait");
  const over = document.getElementById("over");
  const began = Date.now();
  if (wait.hidden) return;

  const explain = () => {
    wait.hidden = true;
    over.hidden = false;
    const [before, after] = [wait, over].map((e) => e.querySelector("h1").textContent);
    document.title = document.title.replace(before, after);
  };
  setTimeout(explain, 10000);

  const look = async () => {
    try {
      await window.sojourn?.bound?.sync();
      const answer = await fetch(location.pathname, { headers: { Accept: "application/json" }, cache: "no-store", redirect: "error" });
      const { state } = await answer.json();
      if (state === "bound" || state === "anonymous") return location.reload();
    } catch { /* the server is away: the next look may find it */ }
    const waited = Date.now() - began;
    if (waited < 120000) setTimeout(look, waited < 10000 ? 1000 : 5000);
  };
  look();
})();
