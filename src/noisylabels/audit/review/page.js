"use strict";
// What is shown comes from the server's JSON and goes into the page as text: nothing here makes HTML of a name.

const $ = (id) => document.getElementById(id);
const TILES = 48; // a page of the grid
const AHEAD = 8; // examples whose pictures are fetched before they are wanted
const all = { index: [], given: [], suggested: [], score: [], classes: [], flagged: 0, version: "", name: "" };
const rankOf = new Map(); // position in the audited set -> place in the lists of `all`, the most doubtful first
const decisions = new Map(); // position -> { action, label }
const details = new Map(); // position -> what the server says of it, or the promise of that
const pictures = new Map(); // position -> an <img> that is loaded, or on its way
let seq = 0; // of the last event that is known
let progress = null;
let queue = []; // ranks of the examples that the filters show
let at = 0; // place in the queue
let busy = false; // a decision is on its way
let unsure = null; // one whose answer never came: sent again it is the same event
let tab = null; // page of the grid that is drawn

function make(kind, text, attributes) {
  const made = document.createElement(kind);
  if (text !== undefined) made.textContent = text;
  for (const [name, value] of Object.entries(attributes || {})) made.setAttribute(name, value);
  return made;
}

const percent = (share) => (share === null || share === undefined ? "" : (share > 0 && share < 0.01 ? "<1" : Math.round(100 * share)) + " %");
const position = () => (queue.length ? all.index[queue[at]] : null);
const nameOf = (label) => all.classes[label];
const number = (value) => value.toLocaleString("en");

// Talking to the server ----------------------------------------------------------------------------

async function ask(path, body) {
  const options = { credentials: "same-origin", cache: "no-store", signal: AbortSignal.timeout(15000), priority: "high" };
  if (body) Object.assign(options, { method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json", "X-NoisyLabels": "review" } });
  let answer;
  try { answer = await fetch(path, options); } catch (error) { throw new Gone(); }
  if (answer.status === 403) throw new Gone("started anew");
  if (!answer.ok) {
    const said = await answer.json().catch(() => ({}));
    throw new Error(said.error || "the server answered " + answer.status);
  }
  try { return await answer.json(); } catch (error) { throw new Gone(); } // cut off in the middle
}

class Gone extends Error {}

function gone(error) {
  const box = $("gone");
  if (!error) { box.hidden = true; return; }
  box.textContent = error.message === "started anew"
    ? "The server was started anew: open the address that it printed. Nothing is saved from this page."
    : "The server does not answer: nothing can be saved. Start `noisylabels review` again and open the address that it prints. Everything that this page called saved is on the disk.";
  box.hidden = false;
}

function say(text, kind) {
  $("saved").textContent = text;
  $("saved").title = text;
  $("saved").className = kind || "";
}

function take(answer) { // what has changed, whoever changed it
  if (answer.seq < seq) return; // it was overtaken by a later answer, which said all of this
  seq = answer.seq;
  progress = answer.progress;
  for (const [place, action, label] of answer.changes) {
    if (action) decisions.set(place, { action, label: label < 0 ? null : label });
    else decisions.delete(place);
    drawMark(place);
  }
  drawProgress();
  if (answer.changes.some(([place]) => place === position())) drawBadge();
}

async function poll() {
  if (!document.hidden && !busy) {
    try { take(await ask("/api/decisions?since=" + seq)); gone(null); } catch (error) { if (error instanceof Gone) gone(error); }
  }
  setTimeout(poll, 1000);
}

function newEvent() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function send(path, body, done) {
  if (busy) return; // the page shows what is not decided yet: a key pressed now was not meant for what comes next
  busy = true;
  say("saving …", "busy");
  const key = JSON.stringify([path, body]);
  const event = unsure && unsure.key === key ? unsure.event : newEvent();
  try {
    const answer = await ask(path, { ...body, event, since: seq });
    unsure = null;
    gone(null);
    take(answer);
    done(answer);
  } catch (error) {
    if (error instanceof Gone) { unsure = { key, event }; gone(error); }
    say(error instanceof Gone ? "not saved" : "not saved: " + error.message, "bad");
  } finally {
    busy = false;
  }
}

function decide(action, label) {
  const place = position();
  if (place === null) return;
  if (action === "suggested" && all.suggested[queue[at]] === all.given[queue[at]]) action = "keep";
  const body = { index: place, action };
  if (action === "chosen") body.label = label;
  send("/api/decide", body, () => {
    const now = decisions.get(place);
    say("saved: " + (now ? wording(place, now) : ""));
    if (position() === place) next();
  });
}

function undo() {
  send("/api/undo", {}, (answer) => {
    if (answer.nothing) { say("nothing to undo", "quiet"); return; }
    say("saved: taken back");
    if (answer.undone === null) return;
    const rank = rankOf.get(answer.undone);
    const place = queue.indexOf(rank);
    if (place >= 0) { at = place; } else { queue.splice(at, 0, rank); tab = null; }
    show();
  });
}

// What is in the list ------------------------------------------------------------------------------

function stateOf(place) {
  const decision = decisions.get(place);
  if (!decision) return "open";
  return { skip: "skipped", discard: "discarded" }[decision.action] || "decided";
}

function isChanged(place) {
  const decision = decisions.get(place);
  return Boolean(decision) && decision.action !== "skip" && decision.label !== all.given[rankOf.get(place)];
}

function wording(place, decision) {
  if (decision.action === "skip") return "skipped";
  if (decision.action === "discard") return "discarded";
  return isChanged(place) ? nameOf(decision.label) : "kept " + nameOf(decision.label);
}

const STATES = {
  open: (place) => stateOf(place) === "open",
  skipped: (place) => stateOf(place) === "skipped",
  decided: (place) => ["decided", "discarded"].includes(stateOf(place)),
  changed: (place) => isChanged(place),
  discarded: (place) => stateOf(place) === "discarded",
  any: () => true,
};

function inState(rank) { return STATES[$("state").value](all.index[rank]); }

function list() {
  const end = $("which").value === "flagged" ? all.flagged : all.index.length;
  const [given, suggested] = [$("given").value, $("suggested").value];
  const here = position();
  queue = [];
  for (let rank = 0; rank < end; rank++) {
    if (given && String(all.given[rank]) !== given) continue;
    if (suggested && String(all.suggested[rank]) !== suggested) continue;
    if (inState(rank)) queue.push(rank);
  }
  at = Math.max(0, queue.findIndex((rank) => all.index[rank] === here));
  tab = null;
  $("again").hidden = true;
  const pair = given && suggested ? given + ">" + suggested : "";
  $("pair").value = [...$("pair").options].some((option) => option.value === pair) ? pair : "";
  show();
}

function next() { // to the next one that is still to be done here
  for (let step = 1; step <= queue.length; step++) {
    const place = (at + step) % queue.length;
    if (inState(queue[place])) {
      if ($("state").value === "any" && place < at) break; // round once
      at = place;
      show();
      return;
    }
  }
  finish();
}

function move(step) {
  if (!queue.length) return;
  const place = Math.min(queue.length - 1, Math.max(0, at + step));
  if (place === at && $("empty").hidden) return;
  at = place;
  show();
}

function options(select, rows, first) {
  const kept = select.value;
  select.replaceChildren(...(first === undefined ? [] : [make("option", first, { value: "" })]), ...rows.map(([value, text]) => make("option", text, { value })));
  if ([...select.options].some((option) => option.value === kept)) select.value = kept;
}

function drawFilters() {
  const end = $("which").value === "flagged" ? all.flagged : all.index.length;
  const counts = { given: new Map(), suggested: new Map() }, pairs = new Map();
  for (let rank = 0; rank < end; rank++) {
    const [given, suggested] = [all.given[rank], all.suggested[rank]];
    counts.given.set(given, (counts.given.get(given) || 0) + 1);
    counts.suggested.set(suggested, (counts.suggested.get(suggested) || 0) + 1);
    if (given !== suggested) pairs.set(given + ">" + suggested, (pairs.get(given + ">" + suggested) || 0) + 1);
  }
  for (const [id, count] of Object.entries(counts)) {
    const rows = [...count].sort((one, other) => one[0] - other[0]);
    options($(id), rows.map(([label, n]) => [String(label), `${nameOf(label)} (${number(n)})`]), "any");
  }
  const rows = [...pairs].sort((one, other) => other[1] - one[1]).slice(0, 100);
  options($("pair"), rows.map(([pair, n]) => [pair, pair.split(">").map((label) => nameOf(Number(label))).join(" → ") + ` (${number(n)})`]), "any");
}

// Drawing ------------------------------------------------------------------------------------------

function drawProgress() {
  if (!progress) return;
  const share = all.flagged ? progress.flagged / all.flagged : 0;
  $("bar").firstElementChild.style.width = 100 * share + "%";
  $("bar").setAttribute("aria-valuemax", all.flagged);
  $("bar").setAttribute("aria-valuenow", progress.flagged);
  const more = progress.decided - progress.flagged;
  $("count").textContent = `${number(progress.flagged)} of ${number(all.flagged)} flagged` + (more ? `, ${number(more)} others` : "");
  $("precision").textContent = progress.precision
    ? `wrong so far: ${percent(progress.precision[0])} (${progress.precision.slice(1).map((end) => Math.round(100 * end)).join("–")} %)`
    : "";
}

function address(place, size) { return `/picture/${place}?size=${size}&v=${all.version}`; }

function small(place, alt) {
  const img = make("img", undefined, { alt, draggable: "false" });
  img.fetchPriority = "low";
  img.onload = () => img.classList.toggle("crisp", Math.max(img.naturalWidth, img.naturalHeight) <= 96);
  img.src = address(place, "tile");
  return img;
}

function large(place) { // kept, so that it is there when it is wanted
  let img = pictures.get(place);
  if (img) { pictures.delete(place); pictures.set(place, img); return img; }
  img = make("img", undefined, { draggable: "false" });
  img.loaded = new Promise((done) => {
    img.onload = () => {
      enlarge(img);
      img.decode().then(() => done(true), () => done(true));
    };
    img.onerror = () => { img.failed = true; done(false); };
  });
  img.src = address(place, "large");
  pictures.set(place, img);
  if (pictures.size > 40) pictures.delete(pictures.keys().next().value);
  return img;
}

function enlarge(img) { // few pixels are shown as pixels, each so many of the screen's, and not too large to be seen as one picture
  const side = Math.max(img.naturalWidth, img.naturalHeight);
  if (side > 128) return;
  const times = Math.max(1, Math.round(Math.min(512, Math.max(256, 10 * side)) / side));
  img.classList.add("crisp");
  [img.style.width, img.style.height] = [img.naturalWidth, img.naturalHeight].map((length) => times * length + "px");
}

function fetchDetails(places) {
  const missing = places.filter((place) => !details.has(place));
  if (!missing.length) return;
  const asked = ask("/api/details?at=" + missing.join(","));
  for (const place of missing) {
    details.set(place, asked.then((found) => { details.set(place, found[place]); return found[place]; }));
    details.get(place).catch(() => details.delete(place));
  }
  if (details.size > 3000) [...details.keys()].slice(0, 1000).forEach((place) => details.delete(place));
}

function ahead() {
  const places = [];
  for (let step = 1; step < queue.length && places.length < AHEAD && step < 400; step++) {
    const rank = queue[(at + step) % queue.length];
    if (inState(rank)) places.push(all.index[rank]);
  }
  fetchDetails(places);
  for (const place of places) {
    const known = details.get(place);
    if (known) Promise.resolve(known).then((one) => { if (!one.values && !one.problem) large(place); }).catch(() => {});
  }
}

function drawGrid() {
  const page = Math.floor(at / TILES);
  if (tab !== page) {
    tab = page;
    const start = page * TILES;
    $("grid").replaceChildren(...queue.slice(start, start + TILES).map((rank, k) => tile(rank, start + k)));
    $("range").textContent = queue.length ? `${number(start + 1)}–${number(Math.min(queue.length, start + TILES))} of ${number(queue.length)}` : "none";
    $("earlier").disabled = page === 0;
    $("later").disabled = start + TILES >= queue.length;
  }
  for (const old of $("grid").querySelectorAll("[aria-current]")) old.removeAttribute("aria-current");
  const here = $("grid").children[at - page * TILES];
  if (here) { here.setAttribute("aria-current", "true"); here.scrollIntoView({ block: "nearest" }); }
}

function tile(rank, place) {
  const index = all.index[rank];
  const button = make("button", undefined, { type: "button", class: "tile", "data-index": index });
  const [given, suggested] = [nameOf(all.given[rank]), nameOf(all.suggested[rank])];
  const words = [make("span", undefined, { class: "words" }), make("span", undefined, { class: "words to" })];
  words[0].append(make("bdi", given));
  words[1].append(...(given === suggested ? [" "] : ["→ ", make("bdi", suggested)]));
  const img = small(index, "");
  img.className = "pic";
  img.onerror = () => img.replaceWith(make("span", "no. " + (index + 1), { class: "pic" }));
  button.append(img, ...words);
  button.title = `${given} → ${suggested}, score ${all.score[rank]}`;
  button.addEventListener("click", () => { at = place; show(); $("current").focus(); });
  mark(button, index);
  return button;
}

function mark(button, place) {
  const state = stateOf(place), decision = decisions.get(place);
  button.dataset.state = state;
  button.dataset.changed = isChanged(place);
  button.querySelector(".mark")?.remove();
  if (decision) {
    const text = { skip: "later", discard: "✕" }[decision.action] || (isChanged(place) ? nameOf(decision.label) : "✓");
    button.append(make("bdi", text, { class: "mark" }));
  }
  const rank = rankOf.get(place);
  button.setAttribute("aria-label", `${nameOf(all.given[rank])}, suggested ${nameOf(all.suggested[rank])}, ${decision ? wording(place, decision) : "open"}`);
}

function drawMark(place) {
  const button = $("grid").querySelector(`[data-index="${place}"]`);
  if (button) mark(button, place);
  if ($("state").value !== "any") $("again").hidden = queue.every(inState) && queue.length > 0;
}

function drawBadge() {
  const place = position(), decision = place === null ? null : decisions.get(place);
  $("badge").replaceChildren();
  if (decision) $("badge").append(make("bdi", wording(place, decision)), " ", make("small", "decided, and can be decided anew"));
}

function drawCard(id, label, chance, neighbours, known) {
  const card = $(id);
  card.querySelector("bdi").textContent = nameOf(label);
  card.querySelector(".chance").textContent = chance === undefined ? "" : percent(chance);
  const box = card.querySelector(".neighbours");
  if (known) {
    box.replaceChildren(...(neighbours.length && !known.problem && !known.values
      ? neighbours.map((place) => small(place, "labelled " + nameOf(all.given[rankOf.get(place)])))
      : neighbours.length || known.values || known.problem ? [] : [make("p", "no examples to compare with were kept")]));
  } else box.replaceChildren();
}

function drawValues(place, known) {
  const rank = rankOf.get(place), box = make("div", undefined, { class: "values", tabindex: "0" });
  const table = make("table"), head = make("tr"), body = make("tbody");
  for (const text of ["", "this row", "mean of " + nameOf(all.given[rank]), "mean of " + nameOf(all.suggested[rank])]) head.append(make("th", text, { scope: "col" }));
  const written = (value) => (value === null ? "" : Number(value.toPrecision(4)).toString());
  for (const [name, value, given, suggested] of known.values) {
    const row = make("tr");
    row.append(make("th", name, { scope: "row" }), make("td", written(value)));
    const nearer = Math.abs(value - given) - Math.abs(value - suggested);
    row.append(make("td", written(given), { class: nearer < 0 ? "near" : "" }), make("td", written(suggested), { class: nearer > 0 ? "near" : "" }));
    body.append(row);
  }
  table.append(make("thead"), body);
  table.tHead.append(head);
  box.append(table);
  return box;
}

function finish() {
  const left = $("which").value === "flagged" && all.flagged < all.index.length;
  const words = queue.length || $("state").value === "open" ? "Nothing is left to do in this list." : "There is nothing of that kind.";
  $("empty").replaceChildren(make("p", words), make("p", left ? "Other filters show more; “all” has also the labels that look right." : "Other filters show more."),
    make("p", "`noisylabels review AUDIT --export corrected.csv` writes the corrected labels; so does CSV at the top."));
  $("empty").hidden = false;
  $("stage").hidden = $("panel").hidden = true;
  drawGrid();
  document.documentElement.dataset.shown = "none";
}

async function show() {
  if (!queue.length) { finish(); return; }
  const place = position(), rank = queue[at];
  $("empty").hidden = true;
  $("stage").hidden = $("panel").hidden = false;
  fetchDetails([place]);
  const known = details.get(place);
  const ready = known instanceof Promise ? null : known;
  drawFacts(place, rank, ready);
  drawBadge();
  drawGrid();
  let one = ready;
  try { one = one || await known; } catch (error) { if (error instanceof Gone) gone(error); else say(error.message, "bad"); return; }
  if (position() !== place) return; // moved on meanwhile
  if (!ready) drawFacts(place, rank, one);
  ahead();
  await drawStage(place, one);
  if (position() === place) document.documentElement.dataset.shown = String(place);
}

function drawFacts(place, rank, known) {
  const [given, suggested] = [all.given[rank], all.suggested[rank]];
  drawCard("card-given", given, known?.chances[0], known?.neighbours[0] || [], known);
  drawCard("card-suggested", suggested, known?.chances[1], known?.neighbours[1] || [], known);
  $("card-suggested").hidden = given === suggested;
  $("score").textContent = `${all.score[rank].toFixed(3)} (0 probably wrong, 1 probably right)` + (rank < all.flagged ? "" : ", not flagged");
  $("why").textContent = known ? known.why : "";
  $("id").textContent = known ? known.id : "";
  $("probable").replaceChildren(...(known ? known.probable : []).map(([label, chance], k) => {
    const button = make("button", undefined, { type: "button" });
    button.append(make("kbd", String(k + 1)), make("bdi", nameOf(label)), make("span", percent(chance), { class: "chance" }));
    button.addEventListener("click", () => { decide("chosen", label); $("current").focus(); });
    return button;
  }));
}

async function drawStage(place, known) {
  if (known.values) { $("stage").replaceChildren(drawValues(place, known)); return; }
  if (known.problem) { $("stage").replaceChildren(make("p", known.problem, { class: "none" })); return; }
  const img = large(place);
  img.alt = known.id;
  if (!img.complete) await img.loaded;
  if (position() !== place) return;
  if (!img.failed) { $("stage").replaceChildren(img); return; }
  pictures.delete(place); // to be tried again when one comes back
  let why = "the picture cannot be shown";
  try { const answer = await fetch(img.src); if (answer.status === 404) why = await answer.text(); } catch (error) { /* said by the banner */ }
  if (position() === place) $("stage").replaceChildren(make("p", why.trim(), { class: "none" }));
}

// Choosing another class ---------------------------------------------------------------------------

let offered = [], chosen = 0;

function openChooser() {
  if (position() === null || !$("empty").hidden) return;
  $("wanted").value = "";
  $("chooser").showModal();
  $("wanted").focus();
  offer();
}

function offer() {
  const words = $("wanted").value.trim().toLowerCase();
  const known = details.get(position());
  const chances = new Map(known && !(known instanceof Promise) ? known.probable : []);
  const place = (label) => { const found = all.classes[label].toLowerCase().indexOf(words); return found < 0 ? Infinity : Math.min(found, 1); };
  const ranks = new Map([...chances.keys()].map((label, k) => [label, k]));
  offered = all.classes.map((_, label) => label).filter((label) => place(label) < Infinity);
  offered.sort((one, other) => place(one) - place(other) || (ranks.get(one) ?? 99) - (ranks.get(other) ?? 99) || one - other);
  const exact = offered.findIndex((label) => all.classes[label].toLowerCase() === words);
  if (exact > 0) offered.unshift(...offered.splice(exact, 1));
  offered = offered.slice(0, 200);
  chosen = 0;
  $("classes").replaceChildren(...offered.map((label, k) => {
    const row = make("li", undefined, { role: "option", id: "class-" + k });
    row.append(make("bdi", nameOf(label)), make("span", percent(chances.get(label)), { class: "chance" }));
    row.addEventListener("click", () => { chosen = k; choose(); });
    return row;
  }), ...(offered.length ? [] : [make("li", "no class has that in its name", { class: "none" })]));
  point();
}

function point() {
  [...$("classes").children].forEach((row, k) => row.setAttribute("aria-selected", String(k === chosen && offered.length > 0)));
  $("classes").children[chosen]?.scrollIntoView({ block: "nearest" });
  $("wanted").setAttribute("aria-activedescendant", offered.length ? "class-" + chosen : "");
}

function choose() {
  if (!offered.length) return;
  $("chooser").close();
  decide("chosen", offered[chosen]);
}

$("wanted").addEventListener("input", offer);
$("wanted").addEventListener("keydown", (event) => {
  const step = { ArrowDown: 1, ArrowUp: -1, PageDown: 8, PageUp: -8 }[event.key];
  if (step) { chosen = Math.max(0, Math.min(offered.length - 1, chosen + step)); point(); event.preventDefault(); }
  if (event.key === "Enter" && !event.isComposing) { event.preventDefault(); choose(); }
});

// Keys and presses ---------------------------------------------------------------------------------

const ACTIONS = {
  keep: () => decide("keep"),
  suggested: () => decide("suggested"),
  discard: () => decide("discard"),
  skip: () => decide("skip"),
  choose: openChooser,
  undo,
};
const KEYS = { k: "keep", s: "suggested", Enter: "suggested", x: "discard", n: "skip", " ": "skip", c: "choose", u: "undo" };

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || document.querySelector("dialog[open]")) return;
  const on = document.activeElement?.tagName;
  if (["INPUT", "SELECT", "TEXTAREA"].includes(on)) return;
  if (["BUTTON", "A"].includes(on) && ["Enter", " "].includes(event.key)) return; // presses what has the focus
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const columns = getComputedStyle($("grid")).gridTemplateColumns.split(" ").length;
  const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns, PageUp: -TILES, PageDown: TILES }[key];
  if (step) { move(step); event.preventDefault(); return; }
  if (key === "?") { $("help").showModal(); event.preventDefault(); return; }
  const digit = /^[1-9]$/.test(key) ? Number(key) : 0;
  if (!KEYS[key] && !digit) return;
  event.preventDefault();
  if (event.repeat) return; // a key held down decides once
  if (key !== "u" && !$("empty").hidden) return;
  if (digit) {
    const known = details.get(position());
    const row = known && !(known instanceof Promise) ? known.probable[digit - 1] : null;
    if (row) decide("chosen", row[0]);
  } else ACTIONS[KEYS[key]]();
});

for (const button of document.querySelectorAll("[data-do]")) {
  button.addEventListener("click", () => { $("current").focus(); ACTIONS[button.dataset.do](); });
}
for (const id of ["given", "suggested", "state", "which"]) {
  $(id).addEventListener("change", () => { if (id === "which") drawFilters(); list(); $("current").focus(); });
}
$("pair").addEventListener("change", () => {
  [$("given").value, $("suggested").value] = $("pair").value ? $("pair").value.split(">") : ["", ""];
  list();
  $("current").focus();
});
$("again").addEventListener("click", () => { list(); $("current").focus(); });
$("earlier").addEventListener("click", () => { at = Math.max(0, (tab - 1) * TILES); show(); $("current").focus(); });
$("later").addEventListener("click", () => { at = Math.min(queue.length - 1, (tab + 1) * TILES); show(); $("current").focus(); });
$("ask").addEventListener("click", () => $("help").showModal());
$("close").addEventListener("click", () => $("help").close());
for (const dialog of document.querySelectorAll("dialog")) dialog.addEventListener("close", () => $("current").focus());
document.addEventListener("visibilitychange", () => { if (!document.hidden) ask("/api/decisions?since=" + seq).then(take, () => {}); });

// The beginning ------------------------------------------------------------------------------------

async function begin() {
  if (location.search) history.replaceState(null, "", "/"); // the token need not stay in the address
  try {
    Object.assign(all, await ask("/api/audit"));
    all.index.forEach((place, rank) => rankOf.set(place, rank));
    take(await ask("/api/decisions?since=0"));
  } catch (error) {
    if (error instanceof Gone) gone(error); else say(error.message, "bad");
    return;
  }
  $("title").textContent = all.name;
  $("title").title = all.name;
  document.title = "Review: " + all.name;
  options($("which"), [["flagged", `flagged (${number(all.flagged)})`], ["all", `all (${number(all.index.length)})`]]);
  options($("state"), [["open", "open"], ["skipped", "skipped"], ["decided", "decided"], ["changed", "changed"], ["discarded", "discarded"], ["any", "any"]]);
  if (!all.flagged) $("which").value = "all";
  drawFilters();
  drawProgress();
  list();
  $("current").focus();
  setTimeout(poll, 1000);
}

begin();
