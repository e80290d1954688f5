"use strict";
(function () {
  const scores = JSON.parse(document.getElementById("scores").textContent);
  const gallery = document.getElementById("gallery");
  const rows = Array.from(gallery.children);
  const order = document.getElementById("order");
  const lowest = document.getElementById("lowest");
  const find = document.getElementById("find");
  const count = document.getElementById("count");
  const number = (row) => Number((row.id.match(/\d+/) || [0])[0]);

  function value(row) {
    if (order.value === "random") { return Number(row.dataset.random); }
    if (order.value === "id") { return number(row); }
    const found = scores[row.id][order.value.slice("score:".length)];
    return found === undefined ? null : found;
  }

  function show() {
    const scored = order.value.startsWith("score:");
    const up = scored ? lowest.checked : true;
    rows.sort(function (a, b) {
      const x = value(a), y = value(b);
      // Stimuli without this score come last in either direction.
      if (x === null || y === null) { return (x === null) - (y === null); }
      return up ? x - y : y - x;
    });
    const wanted = find.value.trim();
    let shown = 0;
    for (const row of rows) {
      row.hidden = wanted !== "" && !row.id.includes(wanted);
      shown += row.hidden ? 0 : 1;
      const one = value(row);
      row.querySelector(".score").textContent = scored && one !== null ? one.toFixed(3) : "";
      gallery.append(row);
    }
    count.textContent = shown + " of " + rows.length;
    lowest.disabled = !scored;
  }

  order.addEventListener("change", show);
  lowest.addEventListener("change", show);
  find.addEventListener("input", show);
  show();
})();
