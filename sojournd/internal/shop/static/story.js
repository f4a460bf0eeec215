"use strict";
// Keeps the page "What happens here" up to date. Without this script a reload does it.

(() => {
  const parts = ["now", "events", "cart-now", "burst-now", "theft-now", "bound-now", "others-now"];
  const story = document.querySelector(".story");
  let leaving = false;
  addEventListener("submit", () => { leaving = true; });
  addEventListener("pagehide", () => { leaving = true; });
  addEventListener("pageshow", () => { leaving = false; });

  const look = async () => {
    try {
      const answer = document.hidden || leaving ? undefined : await fetch("/story/now");
      if (answer?.ok) {
        const next = new DOMParser().parseFromString(await answer.text(), "text/html");
        if (leaving) return;
        if (next.querySelector(".story").dataset.state !== story.dataset.state) return location.reload(); // other buttons
        for (const id of parts) {
          const [old, fresh] = [document.getElementById(id), next.getElementById(id)];
          if (old && fresh && old.innerHTML !== fresh.innerHTML) old.replaceChildren(...fresh.childNodes);
        }
      }
    } catch { /* the shop is away: the next look may find it */ }
    setTimeout(look, 1000);
  };
  setTimeout(look, 1000);
})();
