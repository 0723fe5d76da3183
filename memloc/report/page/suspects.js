// The suspects of `memloc detect`, judged by keys. memloc/report/suspects.py says what the data are.
const data = JSON.parse(document.getElementById("su-data").textContent);
const part = (name) => document.querySelector(`.su-${name}`);
const [RANK, EXAMPLE, FILE, GIVEN, SUGGESTED, SCORE, AGREEMENT, NEURONS, TILE] = [0, 1, 2, 3, 4, 5, 6, 7, 8];
const WORDS = { y: "label is wrong", n: "label is right" };
const SIDE = 128; // pixels of an image
const place = `memloc ${data.name} ${data.identity}`;
const grid = part("grid");
const names = `${place} names`;
let judged = {}; // {example: "y" or "n"}, also of examples that an earlier page had
let named = {}; // {example: [file, given, suggested]} of those that were judged
let shown = [];

const keep = () => {
  try {
    localStorage.setItem(place, JSON.stringify(judged));
    localStorage.setItem(names, JSON.stringify(named));
    part("refused").hidden = true;
  } catch {
    part("refused").hidden = false; // the export still has it
  }
};
try {
  judged = JSON.parse(localStorage.getItem(place)) ?? {};
  named = JSON.parse(localStorage.getItem(names)) ?? {};
} catch {
  /* a browser may refuse to keep anything: then keep() says so */
}
keep();

const make = (tag, attributes = {}, ...children) => {
  const e = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) e.setAttribute(name, value);
  e.append(...children);
  return e;
};
const image = (row) => {
  if (row[TILE] === null) return "";
  const zoom = SIDE / Math.max(...data.cell);
  const columns = Math.min(data.columns, data.tiles);
  const [w, h] = data.cell.map((side) => side * zoom);
  const at = `background-position:${-(row[TILE] % columns) * w}px ${-Math.floor(row[TILE] / columns) * h}px`;
  return make("span", { class: "su-image", style: `width:${w}px;height:${h}px;background-size:${columns * w}px auto;${at}` });
};
const words = (row) => [
  make("b", {}, `${row[RANK]}. `),
  make("s", {}, String(row[GIVEN])),
  ` ${row[SUGGESTED]}`,
  make("br"),
  make("span", { class: "quiet" }, row[FILE] ?? `example ${row[EXAMPLE]}`),
  make("br"),
  make("span", { class: "quiet" }, `score ${row[SCORE].toFixed(4)}, agreement ${row[AGREEMENT].toFixed(2)}`),
  row[NEURONS] === null ? "" : make("span", { class: "quiet" }, `, ${row[NEURONS].toFixed(1)} neurons`),
];
const describe = (row) =>
  `${row[RANK]}: example ${row[EXAMPLE]}, given ${row[GIVEN]}, suggested ${row[SUGGESTED]}, ${WORDS[judged[row[EXAMPLE]]] ?? "not judged"}`;
const item = (row, k) => {
  const e = make("li", { role: "option", tabindex: k ? -1 : 0, "aria-selected": false, "data-example": row[EXAMPLE] });
  e.append(image(row), make("span", { class: "su-words" }, ...words(row)), make("span", { class: "su-verdict" }));
  return dress(e, row);
};
const dress = (e, row) => {
  const verdict = judged[row[EXAMPLE]];
  e.toggleAttribute("data-verdict", Boolean(verdict));
  if (verdict) e.dataset.verdict = verdict;
  e.setAttribute("aria-label", describe(row));
  e.querySelector(".su-verdict").textContent = WORDS[verdict] ?? "";
  return e;
};
const count = () => {
  const of = (verdict) => Object.values(judged).filter((one) => one === verdict).length;
  const absent = elsewhere().length ? `, ${elsewhere().length} of them not on this page` : "";
  part("count").textContent =
    `${shown.length} shown of the ${data.rows.length} most suspect of ${data.of.toLocaleString("en")}; judged: ${of("y")} wrong, ${of("n")} right${absent}`;
};
const here = new Set(data.rows.map((row) => String(row[EXAMPLE])));
const elsewhere = () => Object.keys(judged).filter((example) => !here.has(example)); // from a page with more rows
const update = () => {
  const [show, given] = [part("show").value, part("given").value];
  const passes = (row) =>
    (!given || String(row[GIVEN]) === given) && (!show || (judged[row[EXAMPLE]] ?? "open") === show);
  shown = data.rows.filter(passes);
  grid.replaceChildren(...shown.map(item));
  count();
};
const focus = (k) => {
  const e = grid.children[Math.min(Math.max(k, 0), grid.children.length - 1)];
  if (!e) return;
  grid.querySelector("[tabindex='0']")?.setAttribute("tabindex", -1);
  e.tabIndex = 0;
  e.focus();
};
const across = () => {
  const top = grid.firstElementChild?.offsetTop;
  return Math.max(1, [...grid.children].findIndex((e) => e.offsetTop !== top));
};
const judge = (e, verdict) => {
  const row = shown[[...grid.children].indexOf(e)];
  delete judged[row[EXAMPLE]];
  delete named[row[EXAMPLE]];
  if (verdict) {
    judged[row[EXAMPLE]] = verdict;
    named[row[EXAMPLE]] = [row[FILE], row[GIVEN], row[SUGGESTED]];
  }
  keep();
  dress(e, row);
  count();
};

const press = (e, key) => {
  const k = [...grid.children].indexOf(e);
  const go = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: across(), ArrowUp: -across() }[key];
  if (go) focus(k + go);
  else if (key === "Home") focus(0);
  else if (key === "End") focus(shown.length - 1);
  else if (key === "y" || key === "n") {
    judge(e, key);
    focus(k + 1);
  } else if (key === "u") judge(e, null);
  else return false;
  return true;
};

grid.addEventListener("keydown", (event) => {
  const e = event.target.closest("li");
  if (!e || event.ctrlKey || event.metaKey || event.altKey) return;
  if (press(e, event.key.length === 1 ? event.key.toLowerCase() : event.key)) event.preventDefault();
});
part("judge").addEventListener("click", (event) => {
  const selected = grid.querySelector("[aria-selected='true']") ?? grid.firstElementChild;
  if (selected && event.target.dataset.key) press(selected, event.target.dataset.key);
});
grid.addEventListener("click", (event) => {
  const e = event.target.closest("li");
  if (e) focus([...grid.children].indexOf(e));
});
grid.addEventListener("focusin", (event) => {
  grid.querySelector("[aria-selected='true']")?.setAttribute("aria-selected", false);
  event.target.closest("li")?.setAttribute("aria-selected", true);
});
for (const name of ["show", "given"]) part(name).addEventListener("change", update);
part("export").addEventListener("click", () => {
  const cell = (v) => {
    const formula = typeof v === "string" && /^[=+\-@\t\r\n]/.test(v) && !/^[+-][0-9]+$/.test(v); // -1 is a number
    const text = formula ? `'${v}` : String(v ?? "");
    return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const rows = data.rows.filter((row) => judged[row[EXAMPLE]]);
  const lines = [["rank", "example", "file", "given", "suggested", "score", "agreement", "neurons", "wrong"]];
  const wrong = (example) => (judged[example] === "y" ? "yes" : "no");
  lines.push(...rows.map((row) => [...row.slice(0, TILE), wrong(row[EXAMPLE])]));
  const bare = ([file, given, suggested]) => [file, given, suggested, "", "", ""];
  lines.push(...elsewhere().map((example) => ["", example, ...bare(named[example] ?? []), wrong(example)]));
  const text = lines.map((line) => line.map(cell).join(",")).join("\n") + "\n";
  const url = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  const link = make("a", { href: url, download: `${data.name}-judged.csv` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60000);  // a busy machine reads it late
});
const byName = (a, b) => a.localeCompare(b, "en", { numeric: true }) || (a < b ? -1 : 1);
for (const label of [...new Set(data.rows.map((row) => String(row[GIVEN])))].sort(byName))
  part("given").append(make("option", { value: label }, label));
update();
