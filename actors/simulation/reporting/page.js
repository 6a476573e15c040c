"use strict";
// Filters the rows of the diagram; everything else works without it.
(() => {
  const form = document.querySelector(".filters");
  if (!form) return;
  const rows = [...document.querySelectorAll(".sequence tbody tr")];
  const status = form.querySelector("[role=status]");
  const boxes = [...form.querySelectorAll("input[type=checkbox]")];
  const known = new Set(boxes.map((box) => box.value));
  const apply = () => {
    const words = form.elements.words.value.toLowerCase().split(/\s+/).filter(Boolean);
    const kinds = new Set(boxes.filter((box) => box.checked).map((box) => box.value));
    let shown = 0;
    for (const row of rows) {
      const kind = row.dataset.kind;
      const fits = (!known.has(kind) || kinds.has(kind))
        && (!known.has(kind) || words.every((word) => row.dataset.words.includes(word)));
      row.hidden = !fits;
      if (fits) shown += 1;
    }
    status.textContent = shown === rows.length ? "" : `${shown} of ${rows.length} events`;
  };
  form.hidden = false;
  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
})();
