// Numbers leave the page as CSV, made from what is on it.
function cell(value) {
  const text = value === null || value === undefined ? "" : String(value).trim().replace(/\s+/g, " ");
  return /[",\n]/.test(text) ? '"' + text.replace(/"/g, '""') + '"' : text;
}

function save(name, rows) {
  const link = element("a");
  link.download = name.replace(/[^\w.-]+/g, "_");
  link.href = URL.createObjectURL(new Blob([rows.map((row) => row.map(cell).join(",")).join("\n") + "\n"], { type: "text/csv" }));
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

byId("download-numbers").addEventListener("click", function () {
  const head = ["key", "nsd_id", "shows", ...data.measures.map((measure) => measure.name)];
  save("numbers_per_picture.csv", [head, ...data.cards.map((card) => [card.key, card.id, card.words, ...card.values])]);
});

// A heading that spans cells stands in the first of them.
function grid(table) {
  const rows = [...table.rows].map(() => []);
  [...table.rows].forEach(function (row, y) {
    let x = 0;
    for (const one of row.cells) {
      while (rows[y][x] !== undefined) { x += 1; }
      for (let down = 0; down < one.rowSpan && y + down < rows.length; down += 1) {
        for (let right = 0; right < one.colSpan; right += 1) { rows[y + down][x + right] = down || right ? "" : one.dataset.value || one.textContent; }
      }
      x += one.colSpan;
    }
  });
  return rows;
}

for (const table of document.querySelectorAll("table[data-download]")) {
  const button = element("button", "download", "CSV");
  button.type = "button";
  button.setAttribute("aria-label", "Download " + table.dataset.download);
  button.addEventListener("click", () => save(table.dataset.download, grid(table)));
  (table.closest(".scroll") || table).after(button);
}
