// Every page works without this.
"use strict";

// "/" goes to the search field, unless somebody is writing.
document.addEventListener("keydown", (e) => {
  const field = document.getElementById("q");
  if (e.key !== "/" || e.ctrlKey || e.metaKey || e.altKey || !field || e.target.closest("input, textarea, select")) return;
  e.preventDefault();
  field.focus();
});
