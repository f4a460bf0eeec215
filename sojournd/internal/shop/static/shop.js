"use strict";
// Without this script the shop works too; with it, a cart fills without a new page, and a page notices that its session has ended.

(() => {
  // Leaving the page by a link or a form must not look like being signed out.
  let leaving = false;
  addEventListener("submit", (e) => { if (!e.defaultPrevented) leaving = true; });
  addEventListener("pagehide", () => { leaving = true; });

  const prefs = document.getElementById("prefs");
  addEventListener("click", (e) => { if (prefs.open && !prefs.contains(e.target)) prefs.open = false; });
  addEventListener("keydown", (e) => {
    if (e.key === "Escape" && prefs.open) {
      prefs.open = false;
      prefs.querySelector("summary").focus();
    }
  });

  for (const form of document.querySelectorAll("form[data-add]")) {
    const button = form.querySelector("button");
    const label = button.textContent;
    let timer;
    form.addEventListener("submit", async (e) => {
      e.preventDefault();
      try {
        const answer = await fetch(form.action, {
          method: "POST",
          body: new URLSearchParams(new FormData(form)),
          headers: { Accept: "application/json" },
        });
        if (!answer.ok) throw new Error(answer.status);
        const cart = await answer.json();
        const count = document.getElementById("cart-count");
        count.textContent = cart.items.reduce((n, item) => n + item.qty, 0);
        count.hidden = false;
        button.textContent = button.dataset.added;
        button.classList.add("added");
        clearTimeout(timer);
        timer = setTimeout(() => { button.textContent = label; button.classList.remove("added"); }, 1600);
      } catch {
        leaving = true;
        form.submit(); // the page of the error says more
      }
    });
  }

  // The stream ends with the session, wherever that was ended. Only a visible page holds one: browsers allow six to a host.
  const address = document.body.dataset.live;
  if (!address) return;
  let stream;
  const signedOut = () => {
    close();
    if (leaving) return;
    leaving = true;
    const banner = document.getElementById("signed-out");
    banner.hidden = false;
    setTimeout(() => location.assign("/login?next=" + encodeURIComponent(location.pathname)), 2500);
  };
  const close = () => { stream?.close(); stream = undefined; };
  const open = () => {
    if (stream || leaving) return;
    stream = new EventSource(address);
    stream.addEventListener("signed-out", signedOut);
    stream.addEventListener("error", async () => {
      if (stream?.readyState !== EventSource.CLOSED) return; // it connects again by itself
      close();
      try {
        const me = await (await fetch("/me.json")).json();
        if (me.subject === "") return signedOut();
      } catch { /* the shop is away: no reason to sign out */ }
      setTimeout(() => { if (!document.hidden) open(); }, 5000);
    });
  };
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  addEventListener("pageshow", (e) => { if (e.persisted) { leaving = false; open(); } });
  if (!document.hidden) open();
})();
