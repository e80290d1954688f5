// The tools above the cards, and the keyboard.
const fields = { measure: "by", order: "order", least: "least", most: "most", find: "find" };
if (byId("shows")) { fields.shows = "shows"; }

function showControls() {
  for (const button of document.querySelectorAll("[data-view]")) {
    button.setAttribute("aria-pressed", String(button.dataset.view === state.view));
    button.disabled = !data.measures.length && !["random", "all"].includes(button.dataset.view);
  }
  for (const [id, name] of Object.entries(fields)) { byId(id).value = state[name]; }
  byId("measure").disabled = byId("least").disabled = byId("most").disabled = !data.measures.length;
  byId("order").disabled = state.view !== "all";
  const measure = data.measures[measureIndex()];
  byId("least").placeholder = byId("most").placeholder = measure && measure.share ? "%" : "";
  for (const box of document.querySelectorAll("#columns input")) { box.checked = !state.hide.split(",").includes(box.value); }
}

function change(name, value) {
  if (name === "by" && value !== state.by) { state.least = state.most = ""; }
  state[name] = value;
  showControls();
  show();
}

function columnBoxes() {
  const runs = [...new Set(data.columns.map((column) => column.run))].filter(Boolean);
  const kinds = new Map(data.columns.map((column) => [column.kind, column.kind === "sample" ? "samples, enlarged" : column.heading]));
  const choices = [...kinds, ...(runs.length > 1 ? runs.map((run) => ["run:" + run, run]) : [])];
  for (const [value, text] of choices) {
    const label = element("label");
    const box = element("input");
    box.type = "checkbox";
    box.value = value;
    box.addEventListener("change", function () {
      const names = new Set(state.hide.split(",").filter(Boolean));
      if (box.checked) { names.delete(value); } else { names.add(value); }
      change("hide", [...names].join(","));
    });
    label.append(box, " " + text);
    byId("columns").append(label);
  }
}

function focusOn(key) {
  const card = [...list.children].find((item) => item.dataset.key === key);
  if (card) { card.querySelector(".open").focus(); }
}

function move(by) {
  if (dialog.open) { step(by); return; }
  const here = document.activeElement.closest ? document.activeElement.closest(".card") : null;
  const place = here ? view.cards.findIndex((card) => card.key === here.dataset.key) + by : 0;
  if (place < 0 || place >= view.cards.length) { return; }
  while (place >= made) { makeMore(); }
  focusOn(view.cards[place].key);
}

const keys = {
  j: () => move(1), ArrowRight: () => move(1), k: () => move(-1), ArrowLeft: () => move(-1),
  s: () => byId("measure").focus(), "/": () => byId("find").focus(), "?": () => byId("help").showModal(),
};
if (fields.shows) { keys.c = () => byId("shows").focus(); }
VIEWS.forEach((name, at) => { keys[String(at + 1)] = () => { if (!document.querySelector(`[data-view=${name}]`).disabled) { change("view", name); } }; });

document.addEventListener("keydown", function (event) {
  const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName) && event.target.type !== "checkbox";
  if (typing && event.key === "Escape") { event.target.blur(); }
  if (typing || event.ctrlKey || event.metaKey || event.altKey || byId("help").open) { return; }
  if (dialog.open && !["j", "k", "ArrowLeft", "ArrowRight"].includes(event.key)) { return; }
  const act = keys[event.key];
  if (act) { event.preventDefault(); act(); }
});

for (const measure of data.measures) { byId("measure").append(new Option(measure.label, measure.name)); }
for (const [id, name] of Object.entries(fields)) {
  byId(id).addEventListener(id === "find" || id === "least" || id === "most" ? "input" : "change", (event) => change(name, event.target.value));
}
for (const button of document.querySelectorAll("[data-view]")) { button.addEventListener("click", () => change("view", button.dataset.view)); }
byId("reset").addEventListener("click", function () { Object.assign(state, defaults); showControls(); show(); });
byId("help-open").addEventListener("click", () => byId("help").showModal());
byId("help-close").addEventListener("click", () => byId("help").close());
window.addEventListener("hashchange", function () {
  if (!location.hash.includes("=")) { return; }
  Object.assign(state, defaults, readAddress());
  const key = state.card;
  showControls();
  show();
  if (key) { enlarge(key); }
});

columnBoxes();
showControls();
const opened = state.card;
show();
if (opened) { enlarge(opened); }
