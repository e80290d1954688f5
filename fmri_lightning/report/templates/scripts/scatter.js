// One measure against another: a point a stimulus, which opens its card.
const SVG = "http://www.w3.org/2000/svg";
const scatterBox = byId("scatter");

function svg(tag, attributes, text) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) { made.setAttribute(name, value); }
  if (text !== undefined) { made.textContent = text; }
  return made;
}

function correlation(points) {
  const n = points.length;
  if (n < 3) { return null; }
  const mean = (at) => points.reduce((sum, p) => sum + p[at], 0) / n;
  const [mx, my] = [mean(0), mean(1)];
  let xy = 0, xx = 0, yy = 0;
  for (const [x, y] of points) { xy += (x - mx) * (y - my); xx += (x - mx) ** 2; yy += (y - my) ** 2; }
  return xx > 0 && yy > 0 ? xy / Math.sqrt(xx * yy) : null;
}

function drawScatter() {
  const across = data.measures[byId("across").selectedIndex], up = data.measures[byId("up").selectedIndex];
  const [i, j] = [data.measures.indexOf(across), data.measures.indexOf(up)];
  const points = data.cards.filter((card) => card.values[i] !== null && card.values[j] !== null)
    .map((card) => [card.values[i], card.values[j], card.key]);
  const r = correlation(points);
  const told = points.length + " stimuli" + (r === null ? "" : ", r = " + r.toFixed(2)) + ". A click on a point enlarges its stimulus.";
  byId("scatter-told").textContent = told;
  const [width, height, left, bottom] = [640, 420, 70, 46];
  const span = (at) => {
    const values = points.map((p) => p[at]);
    let [low, high] = [Math.min(...values), Math.max(...values)];
    if (!(high > low)) { [low, high] = [low - 0.5, high + 0.5]; }
    const pad = 0.04 * (high - low);
    return [low - pad, high + pad];
  };
  const figure = svg("svg", { viewBox: "0 0 " + width + " " + height, role: "img",
    "aria-label": up.label + " against " + across.label + ": " + told });
  byId("scatter-figure").replaceChildren(figure);
  if (!points.length) { return; }
  const [x0, x1] = span(0), [y0, y1] = span(1);
  const px = (v) => left + (v - x0) / (x1 - x0) * (width - left - 12);
  const py = (v) => height - bottom - (v - y0) / (y1 - y0) * (height - bottom - 12);
  figure.append(svg("path", { d: `M${left} 12V${height - bottom}H${width - 12}`, fill: "none", stroke: "currentColor" }));
  for (const share of [0, 0.5, 1]) {
    const [x, y] = [x0 + share * (x1 - x0), y0 + share * (y1 - y0)];
    figure.append(svg("text", { x: px(x), y: height - bottom + 16, "text-anchor": ["start", "middle", "end"][2 * share] }, formatted(x, across)));
    figure.append(svg("text", { x: left - 6, y: py(y) + 4, "text-anchor": "end" }, formatted(y, up)));
  }
  figure.append(svg("text", { x: (left + width) / 2, y: height - 8, "text-anchor": "middle" }, across.label));
  figure.append(svg("text", { x: 12, y: (height - bottom) / 2, "text-anchor": "middle",
    transform: `rotate(-90 12 ${(height - bottom) / 2})` }, up.label));
  for (const [x, y, key] of points) {
    const point = svg("circle", { cx: px(x).toFixed(1), cy: py(y).toFixed(1), r: points.length > 2000 ? 2 : 4, "data-key": key });
    point.append(svg("title", {}, key));
    figure.append(point);
  }
}

if (scatterBox) {
  for (const select of [byId("across"), byId("up")]) {
    for (const measure of data.measures) { select.append(new Option(measure.label, measure.name)); }
    select.addEventListener("change", drawScatter);
  }
  byId("up").selectedIndex = Math.min(1, data.measures.length - 1);
  scatterBox.addEventListener("toggle", () => { if (scatterBox.open) { drawScatter(); } });
  byId("scatter-figure").addEventListener("click", (event) => { if (event.target.dataset.key) { enlarge(event.target.dataset.key); } });
  scatterBox.hidden = data.measures.length < 2;
}
