// Cards are made as the reader comes near them: a page of ten thousand opens as fast as one of a hundred.
const CHUNK = 60;
const list = byId("cards");
let view = { kept: [], cards: [] };
let made = 0;

const nearby = new IntersectionObserver(function (entries) {
  for (const entry of entries) {
    if (!entry.isIntersecting) { continue; }
    nearby.unobserve(entry.target);
    for (const image of entry.target.querySelectorAll("img[data-file]")) { load(image); }
  }
}, { rootMargin: "500px" });

const end = new IntersectionObserver(function (entries) {
  if (entries.some((entry) => entry.isIntersecting)) { makeMore(); }
}, { rootMargin: "800px" });

function load(image) {
  image.src = data.addresses[image.dataset.file];
  delete image.dataset.file;
}

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) { made.className = className; }
  if (text !== undefined) { made.textContent = text; }
  return made;
}

function hidden(column) {
  const names = state.hide.split(",");
  return names.includes(column.kind) || (column.run !== "" && names.includes("run:" + column.run));
}

const visible = () => data.columns.map((column, at) => ({ column: column, at: at })).filter((one) => !hidden(one.column));

function panel(card, column, shot, now) {
  const figure = element("figure", "panel " + column.kind);
  const heading = element("div", "heading");
  if (column.run && data.runs > 1) { heading.append(element("span", "run", column.run)); }
  heading.append(column.heading);
  figure.append(heading);
  const alt = column.alt.replace("{id}", card.id).replace("{source}", shot && shot[2] !== null ? shot[2] : "none");
  if (shot && shot[0] !== null) {
    const image = element("img");
    image.alt = alt;
    image.width = image.height = 128;
    image.dataset.file = shot[0];
    if (now) { load(image); }
    figure.append(image);
  } else {
    const absent = element("div", "absent", shot ? "not available" : "not drawn");
    absent.setAttribute("role", "img");
    absent.setAttribute("aria-label", alt + ": " + absent.textContent);
    figure.append(absent);
  }
  figure.append(element("figcaption", "", shot ? shot[1] : ""));
  return figure;
}

function makeCard(card) {
  const item = element("li", "card");
  item.dataset.key = card.key;
  const heading = element("h3");
  const open = element("button", "open", card.key);
  open.type = "button";
  open.title = "Enlarge";
  open.setAttribute("aria-label", "Enlarge " + card.key + (card.words ? ", " + card.words : ""));
  open.addEventListener("click", () => enlarge(card.key));
  heading.append(open);
  const at = measureIndex();
  if (at >= 0) {
    const badge = element("span", "badge", formatted(card.values[at], data.measures[at]));
    badge.title = data.measures[at].label;
    heading.append(badge);
  }
  if (card.words) { heading.append(element("span", "words", card.words)); }
  const panels = element("div", data.runs > 1 ? "panels several" : "panels");
  for (const one of visible()) {
    if (one.column.kind !== "sample") { panels.append(panel(card, one.column, card.shots[one.at], false)); }
  }
  panels.addEventListener("click", () => enlarge(card.key));
  item.append(heading, panels);
  nearby.observe(item);
  return item;
}

function makeMore() {
  const next = view.cards.slice(made, made + CHUNK);
  if (!next.length) { return; }
  const fragment = document.createDocumentFragment();
  for (const card of next) { fragment.append(makeCard(card)); }
  list.append(fragment);
  made += next.length;
  // The mark may still be in sight: look again once the new cards have their place.
  end.unobserve(byId("more"));
  end.observe(byId("more"));
}

function show() {
  view = chosen();
  made = 0;
  list.replaceChildren();
  const width = visible().filter((one) => one.column.kind !== "sample").length;
  list.style.setProperty("--panels", Math.max(1, Math.min(width, 7)));
  byId("told").textContent = described(view, view.cards.length);
  makeMore();
  writeAddress();
}

// Everything that is in sight on paper is on paper.
window.addEventListener("beforeprint", function () {
  for (const image of list.querySelectorAll("img[data-file]")) { load(image); }
});
