"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const boxes = [...document.querySelectorAll("#filter input")];
const views = new Map();
let shown = null; // null: all

// Figures are drawn when they come near the viewport, the rest when the browser is idle, so that printing is complete.

function rowsOf(panel) {
  return panel.rows.map((row) => {
    const found = {};
    row.forEach((value, i) => { if (value !== null) found[panel.names[i]] = value; });
    return found;
  });
}

function draw(chart) {
  if (chart.dataset.begun) return Promise.resolve();
  chart.dataset.begun = "1";
  const panel = data.panels[chart.dataset.panel];
  const description = chart.getAttribute("aria-label"); // Vega overwrites it
  const spec = { ...panel.spec, description, datasets: { [panel.data]: rowsOf(panel) } };
  return vegaEmbed(chart, spec, { renderer: "svg", actions: false }).then((result) => {
    views.set(chart, result.view.logLevel(1)); // errors only: a filter may leave nothing to draw
    chart.style.minHeight = "";
    return filterView(result.view);
  }).catch((error) => { chart.textContent = "This figure cannot be drawn: " + error.message; console.error(error); });
}

function filterView(view) {
  if (!("shown" in view.getState().signals)) return undefined;
  return view.signal("shown", shown).runAsync();
}

const charts = [...document.querySelectorAll(".chart")];
const near = new IntersectionObserver((entries) => {
  entries.filter((entry) => entry.isIntersecting).forEach((entry) => { near.unobserve(entry.target); draw(entry.target); });
}, { rootMargin: "800px" });
charts.forEach((chart) => near.observe(chart));
const idle = window.requestIdleCallback || ((call) => setTimeout(call, 50));
(function rest(place) {
  if (place < charts.length) idle(() => draw(charts[place]).then(() => rest(place + 1)));
  else document.documentElement.dataset.drawn = "all";
})(0);

// The filter hides losses in figures, and their rows in tables.

function filter() {
  const names = boxes.filter((box) => box.checked).map((box) => box.value);
  shown = names.length === boxes.length ? null : names;
  const all = new Set(boxes.map((box) => box.value));
  document.querySelectorAll("tbody tr").forEach((row) => {
    const name = row.cells[0].textContent;
    row.hidden = shown !== null && all.has(name) && !shown.includes(name);
  });
  views.forEach(filterView);
}
boxes.forEach((box) => box.addEventListener("change", filter));
document.querySelectorAll("#filter button").forEach((button) => button.addEventListener("click", () => {
  const wanted = button.dataset.losses;
  const names = wanted.split("\n");
  boxes.forEach((box) => { box.checked = wanted === "*" || names.includes(box.value); });
  filter();
}));
document.getElementById("filter").addEventListener("submit", (event) => event.preventDefault());

// A click on a column's head sorts the table by it, largest numbers first; empty cells stay last.

document.querySelectorAll("thead th").forEach((head) => head.firstElementChild.addEventListener("click", () => {
  const body = head.closest("table").tBodies[0];
  const value = (row) => row.cells[head.cellIndex].dataset.sort ?? row.cells[head.cellIndex].textContent;
  const rows = [...body.rows];
  const numeric = rows.some((row) => row.cells[head.cellIndex].dataset.sort !== undefined);
  const was = head.getAttribute("aria-sort");
  const down = was ? was === "ascending" : numeric;
  const compare = (a, b) => {
    const [x, y] = [value(a), value(b)];
    if (x === "" || y === "") return (x === "") - (y === "");
    const order = numeric ? (Number.isNaN(+x) || Number.isNaN(+y) ? Number.isNaN(+x) - Number.isNaN(+y) : x - y)
      : x.localeCompare(y, undefined, { numeric: true });
    return down ? -order : order;
  };
  head.parentElement.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  body.append(...rows.sort(compare));
}));
