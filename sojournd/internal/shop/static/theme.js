"use strict";
// Buttons that choose the theme. With this script a choice shows at once and in
// all tabs. A page of a CDN has it at its first paint.

(() => {
  const buttons = [...document.querySelectorAll("button[name=theme]")];
  const show = () => {
    const theme = document.documentElement.dataset.theme || "auto";
    for (const button of buttons) button.setAttribute("aria-pressed", button.value === theme);
  };
  for (const button of buttons) {
    button.addEventListener("click", (e) => {
      if (!window.sojourn) return; // the form does it
      e.preventDefault();
      sojourn.mirror.set("theme", button.value);
    });
  }
  // The texts in the chosen language come from the server. Pages that don't come
  // from the server must know the choice, too.
  for (const button of document.querySelectorAll("button[name=language]")) {
    button.form.addEventListener("submit", (e) => { if (e.submitter === button && window.sojourn) sojourn.mirror.set("language", button.value); });
  }
  for (const group of document.querySelectorAll(".themes")) group.hidden = false;
  document.addEventListener("sojourn:change", show);
  show();
})();
