// What the page shows, remembered in its address so that a link shows the same.
const data = JSON.parse(document.getElementById("gallery-data").textContent);
const byId = (id) => document.getElementById(id);
const PRESET = 24;
const VIEWS = ["random", "best", "median", "worst", "all"];
const defaults = { view: "random", by: data.measures.length ? data.measures[0].name : "", order: "random",
  least: "", most: "", find: "", shows: "", hide: "", card: "" };
const state = Object.assign({}, defaults, readAddress());

function readAddress() {
  const found = {};
  const words = location.hash.slice(1);
  // An address without "=" is a heading of the page, not a state.
  if (!words.includes("=")) { return found; }
  for (const [name, value] of new URLSearchParams(words)) {
    if (name in defaults) { found[name] = value; }
  }
  if (found.view && !VIEWS.includes(found.view)) { delete found.view; }
  if (found.by && !data.measures.some((m) => m.name === found.by)) { delete found.by; }
  if (found.shows && !data.cards.some((card) => card.shows.includes(found.shows))) { delete found.shows; }
  return found;
}

function writeAddress() {
  const words = new URLSearchParams();
  for (const name of Object.keys(defaults)) {
    if (state[name] !== defaults[name]) { words.set(name, state[name]); }
  }
  const text = words.toString();
  if (!text && !location.hash.includes("=")) { return; }
  // Inside a notebook's frame the address belongs to the notebook and stays as it is.
  try { history.replaceState(null, "", "#" + text); } catch (error) { /* nothing to remember then */ }
}

const measureIndex = () => data.measures.findIndex((m) => m.name === state.by);
const valueOf = (card) => { const at = measureIndex(); return at < 0 ? null : card.values[at]; };

function formatted(value, measure) {
  if (value === null || value === undefined) { return "–"; }
  if (measure.share) { return (100 * value).toFixed(1) + " %"; }
  return Math.abs(value) >= 100 ? value.toFixed(0) : value.toFixed(3);
}

function passes(card) {
  if (state.shows && !card.shows.includes(state.shows)) { return false; }
  const wanted = state.find.trim().toLowerCase();
  if (wanted && ![card.key, card.words, ...card.captions].some((text) => text.toLowerCase().includes(wanted))) { return false; }
  if (state.least === "" && state.most === "") { return true; }
  const at = measureIndex();
  if (at < 0) { return true; }
  const value = card.values[at];
  if (value === null) { return false; }
  const shown = data.measures[at].share ? 100 * value : value;
  return (state.least === "" || shown >= Number(state.least)) && (state.most === "" || shown <= Number(state.most));
}

// Best first; stimuli without this score come last in either direction.
function ranked(cards, bestFirst) {
  const at = measureIndex();
  if (at < 0) { return cards.slice(); }
  const sign = (data.measures[at].up ? -1 : 1) * (bestFirst ? 1 : -1);
  return cards.slice().sort(function (a, b) {
    const x = a.values[at], y = b.values[at];
    if (x === null || y === null) { return (x === null) - (y === null); }
    return sign * (x - y);
  });
}

function chosen() {
  const kept = data.cards.filter(passes);
  if (state.view === "random") { return { kept: kept, cards: kept.slice(0, PRESET) }; }
  if (state.view !== "all") {
    const scored = ranked(kept.filter((card) => valueOf(card) !== null), state.view !== "worst");
    const start = state.view === "median" ? Math.max(0, Math.floor((scored.length - PRESET) / 2)) : 0;
    return { kept: kept, cards: scored.slice(start, start + PRESET) };
  }
  if (state.order === "id") { return { kept: kept, cards: kept.slice().sort((a, b) => a.id - b.id || (a.key < b.key ? -1 : 1)) }; }
  if (state.order === "random") { return { kept: kept, cards: kept }; }
  return { kept: kept, cards: ranked(kept, state.order === "best") };
}

// Says in words how the pictures were chosen: a choice by score is no sample.
function described(view, n) {
  const at = measureIndex();
  const label = at < 0 ? "" : data.measures[at].label;
  const filtered = view.kept.length < data.cards.length ? ", " + view.kept.length + " of " + data.cards.length + " pass the filter" : "";
  const total = n + " of " + data.cards.length;
  if (state.view === "random") { return total + ", drawn at random, nothing picked" + filtered; }
  if (state.view === "all") {
    const how = { random: "in random order", id: "by stimulus id", best: "best first by " + label, worst: "worst first by " + label }[state.order];
    return total + ", " + how + filtered;
  }
  const how = { best: "the best by ", median: "the middle by ", worst: "the worst by " }[state.view];
  const warning = state.view === "median" ? "" : ": picked by score, not typical";
  return total + ", " + how + label + warning + filtered;
}
