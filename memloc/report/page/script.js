// Every chart is there as SVG. Where scripts run, it becomes interactive when it comes into view, as wide as its place.
const { config, charts } = JSON.parse(document.getElementById("drawing").textContent);
const LEAST = 190, GAP = 16, MARGIN = 56;  // pixels, as in still.py: the narrowest facet, the space between two, the axis
const views = new WeakMap();  // panel: its interactive chart

const rowsOf = ({ fields, rows }) => rows.map((row) => Object.fromEntries(fields.map((field, k) => [field, row[k]])));

const draw = async (panel) => {
  const chart = charts[panel.dataset.chart], place = panel.querySelector(".drawn");
  const width = panel.querySelector(".still").parentElement.clientWidth - 2 * parseFloat(getComputedStyle(panel).paddingLeft);
  const most = Math.max(1, Math.floor((width - MARGIN + GAP) / (LEAST + GAP)));
  const columns = Math.ceil(chart.panels / Math.ceil(chart.panels / most));
  const inner = (width - MARGIN - GAP * (columns - 1)) / columns;
  const spec = structuredClone(chart.spec);
  (spec.spec ?? spec).width = inner;
  if (spec.spec) spec.columns = columns;
  spec.data = { values: rowsOf(chart) };
  const legend = { ...config.legend, columns: Math.max(1, Math.floor(width / 110)) };
  views.get(panel)?.finalize();
  const { view } = await vegaEmbed(place, { ...spec, config: { ...config, legend } }, { actions: false, renderer: "svg", logLevel: 1 });
  views.set(panel, view);
  panel.classList.add("live");
  const excess = parseFloat(place.querySelector("svg").getAttribute("width")) - width;  // of the axis and the lines' names
  view.signal(spec.spec ? "child_width" : "width", Math.max(40, inner - (excess + 1) / columns));
  await view.resize().runAsync();
  place.querySelector("svg").setAttribute("role", "img");
  place.querySelector("svg").setAttribute("aria-label", panel.querySelector(".still svg").getAttribute("aria-label"));
};

// One drawing of a panel at a time, and again until it has the panel's width: a window is resized while charts are drawn.
const follow = async (panel) => {
  if (panel.dataset.busy) return;
  panel.dataset.busy = true;
  while (panel.dataset.width !== String(panel.clientWidth)) {
    panel.dataset.width = panel.clientWidth;
    await draw(panel);
  }
  delete panel.dataset.busy;
};
const fit = new ResizeObserver((entries) => entries.forEach(({ target }) => follow(target)));
const seen = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    seen.unobserve(target);
    fit.observe(target);  // it tells the width at once
  }
}, { rootMargin: "200px" });

const save = (name, type, text) => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);  // a busy machine reads it late
};
const cell = (value) => (value === null ? "" : /[",\n]/.test(value) ? `"${String(value).replaceAll('"', '""')}"` : String(value));
const table = ({ fields, rows }) => [fields, ...rows].map((row) => row.map(cell).join(",") + "\n").join("");
const picture = (panel) => {
  const svg = panel.querySelector(panel.classList.contains("live") ? ".drawn svg" : ".still svg").cloneNode(true);
  const [, , width, height] = svg.getAttribute("viewBox").split(" ");
  for (const [name, value] of Object.entries({ xmlns: "http://www.w3.org/2000/svg", width, height })) svg.setAttribute(name, value);
  return svg.outerHTML;
};

document.addEventListener("click", ({ target }) => {
  if (!target.dataset?.save) return;
  const panel = target.closest("[data-chart]"), chart = charts[panel.dataset.chart];
  if (target.dataset.save === "csv") save(`${chart.name}.csv`, "text/csv", table(chart));
  else save(`${chart.name}.svg`, "image/svg+xml", picture(panel));
});

// A link into something folded unfolds it.
const open = () => {
  const target = document.querySelector(":target"); // the browser knows which links are none
  if (!target) return;
  for (let at = target; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
  target.scrollIntoView();
};
addEventListener("hashchange", open);
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((one) => { one.open = true; }));

// The library is loaded after the first paint, which does not need it.
requestAnimationFrame(() => setTimeout(() => {
  const script = document.createElement("script");
  script.textContent = document.getElementById("bundle").textContent;
  document.head.append(script);
  document.querySelectorAll(".tools").forEach((one) => { one.hidden = false; });
  document.querySelectorAll("[data-chart]").forEach((panel) => seen.observe(panel));
  open();
}));
