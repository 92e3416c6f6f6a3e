// Names and other untrusted data enter the page as text, never as HTML.
const data = JSON.parse(document.getElementById("data").textContent);
const names = data.classes;
const at = (id) => document.getElementById(id);

function make(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

function percent(share, digits = 1) {
  return `${(100 * share).toFixed(digits)} %`;
}

function picture(source, words) {
  const image = make("img");
  image.alt = words;
  image.loading = "lazy";
  image.decoding = "async";
  image.src = source;
  return image;
}

function labels(given, suggested, flagged) {
  const line = make("div", flagged ? "labels" : "labels plain");
  line.append(named("span", "given", names[given], 60));
  if (given !== suggested) line.append(" → ", named("span", "suggested", names[suggested], 60));
  return line;
}

function named(tag, className, name, most) { // a long name is elided in the middle, and written out by a click
  const node = make(tag, className, middle(name, most));
  if (node.textContent !== name) {
    node.title = name;
    node.addEventListener("click", () => { node.textContent = name; });
  }
  return node;
}

const LONG = 220; // characters of a cell that are shown before a click
function cells(item) {
  const list = make("div", "cells");
  for (const [name, content, free] of item.cells) {
    const line = make("div", free ? "text" : "");
    line.append(make("span", "name", name), " ", content === "" ? make("span", "name", "(empty)") : make("bdi", "", content));
    list.append(line);
    if (content.length > LONG) {
      line.classList.add("cut");
      const all = make("button", "all", "show all");
      all.type = "button";
      all.addEventListener("click", () => { all.textContent = line.classList.toggle("cut") ? "show all" : "show less"; });
      list.append(all);
    }
  }
  return list;
}

function breaking(node) { // let a name such as total_phenols break after a separator rather than in a word
  const parts = node.textContent.split(/(?<=[_/.=-])/);
  node.replaceChildren(...parts.flatMap((part, k) => (k ? [make("wbr"), part] : [part])));
  return node;
}

function values(item) { // numbers beside the means of both classes, the closer one bold
  const table = make("table", "means"), head = make("tr"), body = make("tbody");
  const two = item.given !== item.suggested;
  head.append(make("td"), make("th", "number", "this row"));
  const means = two ? [item.given, item.suggested] : [item.given];
  for (const label of means) head.append(named("th", "number", names[label], 12));
  head.title = "this row, and the mean of each class; bold: the closer mean";
  for (const [place, content, ofGiven, ofSuggested, nearer] of item.values) {
    const line = make("tr");
    line.append(breaking(named("th", "", data.columns[place], 22)), named("td", "number", content === "" ? "(empty)" : content, 12));
    line.append(make("td", two && nearer < 0 ? "number near" : "number", ofGiven === null ? "" : String(ofGiven)));
    if (two) line.append(make("td", nearer > 0 ? "number near" : "number", ofSuggested === null ? "" : String(ofSuggested)));
    body.append(line);
  }
  table.append(make("thead"), body);
  table.tHead.append(head);
  return table;
}

function meter(item) { // rank, and the probability that the given label is wrong
  const line = make("div", "score"), bar = make("span", "bar"), filled = make("i");
  const known = item.wrong !== undefined;
  filled.style.width = `${Math.round(100 * (known ? fill(item.wrong) : 1 - item.score))}%`;
  bar.append(filled);
  const words = make("b", "", known ? `wrong: ${chance(item.wrong)}` : `quality: ${item.score}`);
  line.append(`${item.rank}.`, bar, words);
  line.title = known ? "rank, and the estimated probability that the given label is wrong; the bar is in log-odds"
    : "rank, and label quality: 0 likely mislabeled, 1 likely correct; the bar is long for a low quality";
  return line;
}

function card(item) {
  const node = make("figure", "card");
  if (item.image) node.append(picture(item.image, `${item.id}, given label ${names[item.given]}`));
  node.append(labels(item.given, item.suggested, item.rank <= data.flagged));
  if (item.trusted) node.append(make("div", "score", `${item.rank}.`));
  else node.append(meter(item));
  if (item.right !== undefined && item.given !== item.suggested && !item.trusted) {
    node.append(make("div", "why", `suggestion right: ${chance(item.right)}`));
  }
  if (item.why) node.append(make("div", "why", item.why.replaceAll(" %", "\u00a0%")));
  if (item.cells && item.cells.length) node.append(cells(item));
  if (item.values && item.values.length) node.append(values(item));
  if (item.more) node.append(make("div", "rank", `and ${item.more.toLocaleString("en")} more ${item.more === 1 ? "column" : "columns"}`));
  if (item.trusted) node.append(make("div", "checked", "checked by hand"));
  if (item.true !== undefined) {
    const truth = item.true < 0 ? "none of the classes" : names[item.true];
    node.append(make("div", "true", item.true === item.given ? "the given label is correct" : `true label: ${truth}`));
  }
  node.append(named("div", "id", item.id, 48));
  return node;
}

// The grid, filtered and sorted.
const form = at("filter"), grid = at("grid"), more = at("more");
const PAGE = 120;
let shown = PAGE;
const cards = new Map();

function options(select, used) {
  const counts = new Map();
  for (const k of used) counts.set(k, (counts.get(k) || 0) + 1);
  for (const k of [...counts.keys()].sort((a, b) => names[a].localeCompare(names[b]))) {
    const option = make("option", "", `${middle(names[k], 40)} (${counts.get(k)})`);
    option.value = k;
    select.append(option);
  }
}

const ORDERS = {
  score: (a, b) => a.rank - b.rank,
  given: (a, b) => names[a.given].localeCompare(names[b.given]) || a.rank - b.rank,
  suggested: (a, b) => names[a.suggested].localeCompare(names[b.suggested]) || a.rank - b.rank,
  id: (a, b) => a.id.localeCompare(b.id, undefined, { numeric: true }) || a.rank - b.rank,
};

if (data.items.some((item) => item.cells || item.values)) {
  grid.classList.add("rows");
  at("by-id").previousSibling.textContent = "name or text contains ";
}

function draw() {
  const given = at("by-given").value, suggested = at("by-suggested").value;
  const word = at("by-id").value.toLowerCase();
  const chosen = data.items
    .filter((item) => given === "" || item.given === Number(given))
    .filter((item) => suggested === "" || item.suggested === Number(suggested))
    .filter((item) => [item.id, ...[...(item.cells || []), ...(item.values || [])].map((cell) => cell[1])].some((text) => text.toLowerCase().includes(word)))
    .sort(ORDERS[at("by-order").value]);
  const drawn = chosen.slice(0, shown);
  for (const item of drawn) if (!cards.has(item)) cards.set(item, card(item));
  grid.replaceChildren(...drawn.map((item) => cards.get(item)));
  at("count").textContent = `${chosen.length.toLocaleString("en")} of ${data.items.length.toLocaleString("en")}`;
  more.hidden = drawn.length === chosen.length;
}

options(at("by-given"), data.items.map((item) => item.given));
options(at("by-suggested"), data.items.map((item) => item.suggested));
form.addEventListener("input", () => { shown = PAGE; draw(); });
form.addEventListener("reset", () => setTimeout(() => { shown = PAGE; draw(); }));
form.addEventListener("submit", (event) => event.preventDefault());
more.addEventListener("click", () => { shown += PAGE; draw(); });
addEventListener("beforeprint", () => { shown = data.items.length; draw(); });
draw();

// The transition matrix. Off-diagonal entries, the noise, have their own color scale.
function drawMatrix() {
  const K = names.length, NS = "http://www.w3.org/2000/svg";
  const numbered = K <= 14, named = K <= 40;
  const widest = Math.max(...names.map((name) => Math.min(18, name.length)));
  const short = numbered && widest <= 5;
  const left = Math.max(52, named ? 14 + 7 * widest : 0);
  const room = Math.floor((document.documentElement.clientWidth - left - 40) / K); // smaller cells on a phone
  const cell = numbered ? Math.max(32, Math.min(46, room)) : K <= 40 ? 20 : Math.max(2, Math.floor(720 / K));
  const below = short ? 20 : named ? (numbered ? 24 + 5 * Math.min(12, widest) : 14 + 6 * widest) : 8;
  const size = K * cell;
  const svg = document.createElementNS(NS, "svg");
  const add = (tag, attributes, text) => {
    const node = document.createElementNS(NS, tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    if (text !== undefined) node.textContent = text;
    svg.append(node);
    return node;
  };
  const width = left + size + 60, height = 26 + size + below;
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("width", width);
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", "estimated transition matrix; the table of class pairs lists the most frequent confusions");
  add("text", { x: left, y: 14, class: "axis" }, "given →");
  add("text", { x: left - 6, y: 14, class: "axis", "text-anchor": "end" }, "true ↓");
  add("rect", { x: left, y: 22, width: size, height: size, class: "frame" });
  const off = data.matrix.filter(([i, j]) => i !== j).map((entry) => entry[2]);
  const most = Math.max(0.02, ...off);
  for (const [i, j, value, low, high] of data.matrix) {
    const x = left + j * cell, y = 22 + i * cell, same = i === j;
    const strength = same ? 0.25 * value : Math.sqrt(value / most) * 0.9;
    add("rect", { x, y, width: cell, height: cell, class: "cell",
      style: `fill: var(${same ? "--quiet" : "--heat"}); fill-opacity: ${strength.toFixed(3)}` });
    if (numbered && value >= 0.0005) {
      add("text", { x: x + cell / 2, y: y + cell / 2 + 4, "text-anchor": "middle", class: cell < 40 ? "narrow" : "" }, (100 * value).toFixed(1));
    }
    const hit = add("rect", { x, y, width: cell, height: cell, class: "hit" });
    const between = low === undefined ? "" : ` (${percent(low)} to ${percent(high)})`;
    const words = `True class ${names[i]}: ${percent(value)}${between} have the given label ${names[j]}.`;
    hit.addEventListener("pointerenter", () => { at("pointed").textContent = words; });
  }
  at("pointed").textContent = "Point at a cell, or tap it, to read it here.";
  if (named) {
    names.forEach((name, k) => {
      const row = add("text", { x: left - 6, y: 22 + (k + 0.5) * cell + 4, "text-anchor": "end" }, middle(name, 18));
      const x = left + (k + 0.5) * cell, y = 22 + size + 14;
      const turned = short ? { "text-anchor": "middle" } : { transform: `rotate(${numbered ? 35 : 90} ${x} ${y - 6})` };
      const column = add("text", { x, y, ...turned }, middle(name, numbered ? 12 : 18));
      for (const text of [row, column]) text.append(Object.assign(document.createElementNS(NS, "title"), { textContent: name }));
    });
  }
  at("matrix").append(svg);
}
drawMatrix();

function row(cells) {
  const line = make("tr");
  cells.forEach((cell) => {
    if (cell instanceof Node) {
      const place = make("td");
      place.append(cell);
      line.append(place);
    } else line.append(make("td", typeof cell === "object" ? "number" : "", typeof cell === "object" ? cell.number : cell));
  });
  return line;
}

const number = (value) => ({ number: value.toLocaleString("en") });
for (const each of data.byClass) {
  at("classes").tBodies[0].append(row([named("span", "", each.name, 40), number(each.count), number(each.flagged), each.wrong === null ? "not judged" : { number: percent(each.wrong) }]));
}
const FIRST = 15;
data.pairs.forEach((pair, place) => {
  const button = make("button", "", "show");
  button.type = "button";
  button.addEventListener("click", () => {
    form.reset();
    at("by-given").value = names.indexOf(pair.given);
    at("by-suggested").value = names.indexOf(pair.suggested);
    setTimeout(() => { at("quality").scrollIntoView(); });
  });
  const there = data.items.some((item) => names[item.given] === pair.given && names[item.suggested] === pair.suggested);
  const line = row([...[pair.given, pair.suggested].map((name) => named("span", "", name, 40)), number(pair.count), { number: percent(pair.share) }, there ? button : ""]);
  line.hidden = place >= FIRST;
  at("pair-table").tBodies[0].append(line);
});
const rest = at("more-pairs"), lines = () => [...at("pair-table").tBodies[0].rows];
const showAll = () => { for (const line of lines()) line.hidden = false; rest.hidden = true; };
rest.hidden = data.pairs.length <= FIRST;
rest.addEventListener("click", showAll);
addEventListener("beforeprint", showAll);
at("pair-table").hidden = data.pairs.length === 0;

for (const group of data.groups) {
  const box = make("div", "group");
  const inner = make("div");
  for (const member of group.members) {
    const figure = make("figure");
    if (member.image) figure.append(picture(member.image, member.id));
    figure.append(named("div", "labels", names[member.given], 60));
    if (member.cells) figure.append(cells(member));
    if (member.more) figure.append(make("div", "rank", `and ${member.more.toLocaleString("en")} more ${member.more === 1 ? "column" : "columns"}`));
    if (member.trusted) figure.append(make("div", "checked", "checked by hand"));
    figure.append(named("div", "id", member.id, 48));
    inner.append(figure);
  }
  box.append(make("div", "rank", group.id ? "same id" : group.exact ? "identical" : "nearly identical"), inner);
  at("groups").append(box);
}
