// The explorer of examples. memloc/report/explorer.py says what its data are.
const root = document.getElementById("explorer");
const part = (name) => root.querySelector(`.ex-${name}`);
const [grid, panel, end] = [part("grid"), part("detail"), part("end")];
const STEP = 200; // tiles that are added at a time
let data, set; // all of them, and the training set that is shown
let shown = []; // its rows that pass the filters, in order

const make = (tag, attributes = {}, ...children) => {
  const svg = ["svg", "rect", "path"].includes(tag);
  const e = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) e.setAttribute(name, value);
  e.append(...children);
  return e;
};
const picture = (view, high, words, ...marks) =>
  make("svg", { viewBox: view, height: high, preserveAspectRatio: "none", role: "img", "aria-label": words }, ...marks);
const number = (v) => (v === null ? "–" : v.toLocaleString("en", { maximumSignificantDigits: 4 }));
const count = (n, noun) => `${n.toLocaleString("en")} ${noun}${n === 1 ? "" : noun.endsWith("h") ? "es" : "s"}`;
const pairs = (flat) => flat.flatMap((v, k) => (k % 2 ? [] : [[v, flat[k + 1]]]));
const label = (c) => (c === null ? "unknown" : set.classes[c] ? `${c} (${set.classes[c]})` : String(c));
const wrong = (r) => set.label[r] !== set.true[r];
const score = (key) => [...set.scores, { key: "example", name: "number", values: set.example }].find((s) => s.key === key);
const link = (id) => `#example=${id}${data.sets.length > 1 ? `&of=${set.name}` : ""}`;
const asked = () => new URLSearchParams(location.hash.slice(1));
const describe = (r) =>
  `Example ${set.example[r]}${set.files ? `, ${set.files[r]}` : ""}, label ${label(set.label[r])}${wrong(r) ? `, wrong, truly ${label(set.true[r])}` : ""}`;
const image = (r, side) => {
  const tile = set.tile[r];
  if (tile === null) return make("span", { class: "ex-plain", style: `width:${side}px;height:${side}px` }, set.example[r]);
  const zoom = Math.max(1, Math.round(side / Math.max(...set.size)));
  const [columns, w, h] = [Math.min(data.tiles, data.columns), data.cell[0] * zoom, data.cell[1] * zoom];
  const place = `background-position:${-(tile % columns) * w}px ${-Math.floor(tile / columns) * h}px`;
  const size = `width:${set.size[0] * zoom}px;height:${set.size[1] * zoom}px;background-size:${columns * w}px auto`;
  return make("span", { class: "ex-image", style: `${size};${place}` });
};

// --- the grid ---

const tile = (r, place) => {
  const by = score(part("sort").value);
  const words = `${describe(r)}${by.key === "example" ? "" : `, ${by.name} ${number(by.values[r])}`}`;
  const at = { "data-example": set.example[r], "aria-selected": false, "aria-setsize": shown.length, "aria-posinset": place + 1 };
  const caption = make("span", {}, `${wrong(r) ? "≠ " : ""}${by.key === "example" ? by.values[r] : number(by.values[r])}`);
  caption.classList.toggle("ex-wrong", wrong(r));
  return make("li", { role: "option", tabindex: place ? -1 : 0, "aria-label": words, ...at }, image(r, 48), caption);
};
const rove = (e) => {
  grid.querySelector("[tabindex='0']").tabIndex = -1;
  e.tabIndex = 0;
  return e;
};
const mark = () => {
  grid.querySelector("[aria-selected='true']")?.setAttribute("aria-selected", false);
  const selected = panel.hidden ? null : grid.querySelector(`[data-example="${CSS.escape(panel.dataset.opened)}"]`);
  if (selected) rove(selected).setAttribute("aria-selected", true);
};
const more = (upTo = grid.children.length + STEP) => {
  const first = grid.children.length;
  grid.append(...shown.slice(first, upTo).map((r, k) => tile(r, first + k)));
  mark();
  sight.unobserve(end); // observed anew, it says again whether it is in sight
  sight.observe(end);
};
const sight = new IntersectionObserver(
  (entries) => entries.at(-1).isIntersecting && grid.children.length < shown.length && more(),
  { root: part("scroll"), rootMargin: "400px" },
);
const update = () => {
  const { values } = score(part("sort").value);
  const [sign, range, forgotten] = [Number(part("order").value), score(part("range").value), score("forgotten")];
  const limit = (name, open) => (part(name).value === "" ? open : Number(part(name).value));
  const [low, high, labels, dropping] = [limit("from", -Infinity), limit("to", Infinity), part("label").value, part("dropping").value];
  const passes = (r) =>
    (!labels || wrong(r) === (labels === "wrong")) &&
    (!dropping || !forgotten || forgotten.values[r] > 0 === (dropping === "forgotten")) &&
    (!range || (range.values[r] !== null && range.values[r] >= low && range.values[r] <= high));
  shown = [...set.example.keys()].filter(passes);
  shown.sort((a, b) => (values[a] === null) - (values[b] === null) || sign * (values[a] - values[b]));
  part("count").textContent = `${shown.length.toLocaleString("en")} of ${count(set.example.length, "example")} shown`;
  grid.replaceChildren();
  part("scroll").scrollTop = 0;
  more();
};
const choose = (next) => {
  set = next;
  set.at ??= new Map(set.example.map((e, r) => [e, r]));
  const scores = set.scores.map((s) => [s.key, s.name]);
  const choices = { sort: [...scores, ["example", "number"]], range: [["", "any score"], ...scores] };
  for (const [name, entries] of Object.entries(choices)) {
    const before = part(name).value;
    part(name).replaceChildren(...entries.map(([value, words]) => make("option", { value }, words)));
    if (score(before)) part(name).value = before;
  }
  part("set").value = set.name;
  part("set").parentElement.hidden = data.sets.length < 2;
  part("dropping").parentElement.hidden = !score("forgotten");
  part("about").textContent = set.about.join(" ");
  part("query").textContent = `memloc query "${set.query}"`;
  part("query").hidden = !set.query;
  update();
};

// --- one example ---

const row = (head, ...cells) => make("tr", {}, make("th", { scope: "row" }, head), ...cells.map((c) => make("td", {}, c)));
const table = (name, title, rows, note = "") => [
  make("h4", {}, title), make("p", { class: "quiet" }, note), make("table", { class: name }, make("tbody", {}, ...rows)),
];
const strip = ({ name, cuts }, value) => {
  const [low, width] = [cuts[0], cuts.at(-1) - cuts[0] || 1];
  const bins = new Array(30).fill(0);
  for (const cut of cuts) bins[Math.min(29, Math.floor((30 * (cut - low)) / width))]++;
  const bar = (n, k) => make("rect", { x: 10 * k, width: 9, y: 100 - (100 * n) / Math.max(...bins), height: 100 });
  const place = make("path", { d: `M${(300 * (value - low)) / width} 0V100` });
  return picture("-2 0 304 100", 24, `where ${number(value)} lies in ${name}`, ...bins.map(bar), place);
};
const rank = ({ cuts, n }, value) => {
  const share = (test) => `${Math.round((100 * cuts.filter(test).length) / cuts.length)}\u00a0%`;
  return `above\u00a0${share((c) => c < value)}, below\u00a0${share((c) => c > value)}${n < set.n ? ` of\u00a0${n.toLocaleString("en")}` : ""}`;
};
const places = (r) =>
  set.scores.filter((s) => s.values[r] !== null).map((s) => row(s.name, number(s.values[r]), strip(s, s.values[r]), rank(s, s.values[r])));
const answer = (r, said) => {
  const all = pairs(said).reduce((sum, [, n]) => sum + n, 0);
  const which = (c) => (c === set.label[r] ? (wrong(r) ? ", the given label" : ", its label") : c === set.true[r] ? ", the true label" : "");
  return pairs(said).map(([c, n]) => `${label(c)}${which(c)}${all > 1 ? `: ${n} of ${all} trainings` : ""}`).join("; ");
};
const map = (id) => {
  const { rows, layers, neurons, trainings, searches, closed } = set.neurons;
  const drawn = rows.map(() => [[], []]); // marks, and what they say
  for (const [neuron, n] of pairs(closed[id])) {
    const [training, layer, index] = neurons[neuron];
    const [name, at, left, width, size] = layers[layer];
    const x = 1000 * (left + (width * (index + 0.5)) / size) - 4;
    drawn[at][0].push(make("rect", { x, width: 8, y: 12 * training + 1, height: 10, opacity: 0.3 + (0.7 * n) / searches }));
    drawn[at][1].push(`${name} ${index}, ${trainings[training]}, ${count(n, "search")}`);
  }
  const high = 12 * trainings.length;
  const lanes = () => trainings.slice(1).map((_, k) => make("path", { d: `M0 ${12 * (k + 1)}H1000` }));
  return rows.map((name, k) => row(name, picture(`0 0 1000 ${high}`, high, drawn[k][1].join("; ") || "none", ...lanes(), ...drawn[k][0])));
};
const alike = (id) => {
  const { closed } = set.neurons;
  const own = new Map(pairs(closed[id]));
  const square = (flat) => pairs(flat).reduce((sum, [, n]) => sum + n * n, 0);
  const dot = (flat) => pairs(flat).reduce((sum, [neuron, n]) => sum + n * (own.get(neuron) ?? 0), 0);
  const cosine = (other) => dot(closed[other]) / Math.sqrt(square(closed[id]) * square(closed[other]));
  const others = Object.keys(closed).map(Number).filter((e) => e !== id).map((e) => [e, cosine(e)]);
  return others.filter(([, c]) => c > 0).sort((a, b) => b[1] - a[1] || a[0] - b[0]).slice(0, 8);
};
const flips = (id) => {
  const { trainings, of, searches, closed } = set.neurons ?? { closed: {} };
  if (!closed[id]) return [];
  const lanes = trainings.length > 1 ? ` (a lane each${of > trainings.length ? `, of ${of} trainings` : ""})` : "";
  const often = searches > 1 ? `; the darker, the more of ${searches} searches close it` : "";
  const note = `Rows are layers, from input to output. Marks are closed neurons, by index, in ${trainings.join(", ")}${lanes}${often}.`;
  const list = alike(id).map(([e, cosine]) => {
    const [r, said] = [set.at.get(e), cosine.toFixed(2)];
    return make("li", {}, make("a", { href: link(e), "aria-label": `${describe(r)}, cosine ${said}` }, image(r, 48), said));
  });
  return [
    ...table("ex-map", `Neurons that flipping closes: ${closed[id].length / 2}`, map(id), note),
    make("h4", {}, "Most alike by these neurons (cosine)"), make("ul", { class: "ex-alike" }, ...(list.length ? list : [make("li", {}, "none")])),
  ];
};
const methods = (id) => {
  const { layers, methods, first } = set.located ?? { first: {} };
  if (!first[id]) return [];
  const [training, ...lists] = first[id];
  const wide = 1000 / layers.length;
  const ends = () => layers.slice(1).map((_, k) => make("path", { d: `M${wide * (k + 1)} 0V14` }));
  const rows = lists.map((flat, k) => {
    const marks = pairs(flat).map(([layer, index], place) =>
      make("rect", { x: wide * (layer + (index + 0.5) / layers[layer][1]) - 4, width: 8, y: 2, height: 10, opacity: 1 / (1 + place / 4) }));
    const words = pairs(flat).map(([layer, index]) => `${layers[layer][0]} ${index}`).join(", ");
    return row(methods[k], picture("0 0 1000 14", 14, words || "none", ...ends(), ...marks));
  });
  const names = layers.map(([name]) => name).join(", ");
  const note = `Marks are the first ${Math.max(...lists.map((flat) => flat.length / 2))} neurons of each method, in ${training}; the darker, the earlier. Layers from left to right: ${names}.`;
  return table("ex-methods", "Its neurons by each method", rows, note);
};
const all = (id, r) => {
  const given = make("dd", wrong(r) ? { class: "ex-wrong" } : {}, `${label(set.label[r])}${wrong(r) ? ", wrong" : ""}`);
  const file = set.files ? [make("dt", {}, "File"), make("dd", { class: "ex-file" }, set.files[r])] : [];
  const labels = [...file, make("dt", {}, "Given label"), given, make("dt", {}, "True label"), make("dd", {}, label(set.true[r]))];
  const networks = set.networks.filter((n) => n.said[r]).map((n) => row(n.name, answer(r, n.said[r])));
  return [
    make("div", { class: "ex-who" }, image(r, 192), make("dl", {}, ...labels)),
    ...table("ex-scores", `Scores among ${count(set.n, "example")}`, places(r)),
    ...(networks.length ? table("ex-networks", "What networks predict", networks) : []),
    ...flips(id),
    ...methods(id),
  ];
};
const open = (id, note) => {
  const close = make("button", { type: "button" }, "Close");
  close.addEventListener("click", leave);
  const r = set.at.get(id);
  const rest = r === undefined ? [make("p", {}, "This page does not have this example.")] : all(id, r);
  const head = make("div", { class: "ex-head" }, make("h3", { id: "ex-name" }, `Example ${id}`), close);
  panel.replaceChildren(head, make("p", { class: "note" }, note), ...rest);
  panel.dataset.opened = id;
  panel.hidden = false;
  mark();
  panel.focus({ preventScroll: true }); // it would show the middle of a high panel
  const { top } = panel.getBoundingClientRect();
  if (top < 0 || top > innerHeight / 2) panel.scrollIntoView();
};
const shut = () => {
  const inside = panel.contains(document.activeElement);
  panel.hidden = true;
  mark();
  if (inside) grid.querySelector("[tabindex='0']")?.focus();
};

// --- links and keys ---

const leave = () => {
  shut();
  history.pushState(null, "", "#explorer");
};
const start = () => {
  if (data) return;
  data = JSON.parse(document.getElementById("examples").textContent);
  part("set").append(...data.sets.map((s) => make("option", { value: s.name }, s.title)));
  part("controls").hidden = false;
  choose(data.sets[0]);
};
const route = () => {
  const [example, of] = [asked().get("example"), asked().get("of")];
  if (example === null) return data && shut();
  start();
  const id = /^\d+$/.test(example) ? Number(example) : example;
  const named = data.sets.find((s) => s.name === of);
  const next = named ?? [set, ...data.sets].find((s) => s.example.includes(id)) ?? set;
  if (next !== set) choose(next);
  open(id, of === null || named ? "" : `This page has no set “${of}”. Its sets: ${data.sets.map((s) => s.name).join(", ")}.`);
};
grid.addEventListener("click", (event) => {
  const tile = event.target.closest("li");
  if (tile) location.hash = link(tile.dataset.example);
});
grid.addEventListener("keydown", (event) => {
  const tiles = [...grid.children];
  const k = tiles.indexOf(event.target);
  const lower = tiles.findIndex((e) => e.offsetTop > tiles[0].offsetTop);
  const columns = lower < 0 ? tiles.length : lower;
  const steps = { ArrowRight: k + 1, ArrowLeft: k - 1, ArrowDown: k + columns, ArrowUp: k - columns, Home: 0, End: shown.length - 1 };
  const to = steps[event.key];
  if (event.key === "Enter" || event.key === " ") event.target.click();
  else if (to === undefined) return;
  event.preventDefault();
  if (to < shown.length && to >= grid.children.length) more(to + 1);
  if (grid.children[to]) rove(grid.children[to]).focus();
});
root.addEventListener("keydown", (event) => event.key === "Escape" && !panel.hidden && leave());
part("set").addEventListener("change", (event) => {
  if (!panel.hidden) leave();
  choose(data.sets.find((s) => s.name === event.target.value));
});
for (const name of ["sort", "order", "label", "dropping", "range", "from", "to"]) part(name).addEventListener("input", update);
window.addEventListener("hashchange", route);
new IntersectionObserver((entries) => entries.at(-1).isIntersecting && start(), { rootMargin: "600px" }).observe(root);
route();
