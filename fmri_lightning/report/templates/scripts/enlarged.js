// One stimulus, large, with all its numbers and samples.
const dialog = byId("enlarged");

function enlarge(key) {
  const card = data.cards.find((one) => one.key === key);
  if (!card) { return; }
  state.card = key;
  byId("enlarged-title").textContent = card.key + (card.words ? ": " + card.words : "");
  const panels = byId("enlarged-panels");
  panels.replaceChildren();
  for (const one of visible()) {
    const shot = card.shots[one.at];
    if (one.column.kind !== "sample" || shot) { panels.append(panel(card, one.column, shot, true)); }
  }
  byId("enlarged-captions").replaceChildren(...captionsOf(card));
  byId("enlarged-numbers").replaceChildren(numbersOf(card));
  const place = view.cards.indexOf(card);
  byId("previous").disabled = place <= 0;
  byId("next").disabled = place < 0 || place === view.cards.length - 1;
  if (!dialog.open) { dialog.showModal(); }
  writeAddress();
}

function captionsOf(card) {
  if (!card.captions.length) { return []; }
  const list = element("ul");
  list.setAttribute("aria-label", "What people wrote of " + card.key);
  for (const caption of card.captions) { list.append(element("li", "", caption)); }
  return [list];
}

function numbersOf(card) {
  const table = element("table");
  table.append(element("caption", "", "Scores of " + card.key));
  const head = element("tr");
  for (const name of ["measure", "value", "rank of " + data.cards.length]) {
    const cell = element("th", "", name);
    cell.scope = "col";
    head.append(cell);
  }
  const body = element("tbody");
  data.measures.forEach(function (measure, at) {
    const value = card.values[at];
    const row = element("tr");
    const name = element("th", "", measure.label);
    name.scope = "row";
    const better = data.cards.filter((one) => one.values[at] !== null && (measure.up ? one.values[at] > value : one.values[at] < value));
    row.append(name, element("td", "", formatted(value, measure)), element("td", "", value === null ? "–" : String(better.length + 1)));
    body.append(row);
  });
  const top = element("thead");
  top.append(head);
  table.append(top, body);
  return data.measures.length ? table : element("p", "quiet", "Not scored.");
}

function step(by) {
  const place = view.cards.findIndex((card) => card.key === state.card);
  const next = view.cards[place + by];
  if (next) { enlarge(next.key); }
}

dialog.addEventListener("close", function () {
  const key = state.card;
  state.card = "";
  writeAddress();
  focusOn(key);
});
dialog.addEventListener("click", (event) => { if (event.target === dialog) { dialog.close(); } });
byId("close").addEventListener("click", () => dialog.close());
byId("previous").addEventListener("click", () => step(-1));
byId("next").addEventListener("click", () => step(1));
