"use strict";
// The list of examples -----------------------------------------------------------------------------

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
  selected.clear();
  $("again").hidden = true;
  const pair = given && suggested ? given + ">" + suggested : "";
  $("pair").value = [...$("pair").options].some((option) => option.value === pair) ? pair : "";
  drawProgress();
  show();
}

function next() { // move to the next example in this list without a decision
  for (let step = 1; step <= queue.length; step++) {
    const place = (at + step) % queue.length;
    if (inState(queue[place])) {
      if ($("state").value === "any" && place < at) break; // wrapped around once
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
    options($(id), rows.map(([label, n]) => [String(label), `${middle(nameOf(label), 40)} (${number(n)})`]), "any");
  }
  const rows = [...pairs].sort((one, other) => other[1] - one[1]).slice(0, 100);
  options($("pair"), rows.map(([pair, n]) => [pair, pair.split(">").map((label) => middle(nameOf(Number(label)), 24)).join(" → ") + ` (${number(n)})`]), "any");
}

// Drawing ------------------------------------------------------------------------------------------

function drawProgress() {
  if (!progress) return;
  drawGoal();
  drawMany();
  const more = progress.decided - progress.flagged;
  $("count").textContent = `${number(progress.flagged)} of ${number(all.flagged)} flagged decided` + (more ? `, ${number(more)} others` : "");
  $("precision").textContent = progress.precision
    ? `wrong so far: ${Math.round(100 * progress.precision[0])} % (${progress.precision.slice(1).map((end) => Math.round(100 * end)).join("–")} %)`
    : "";
}

function toReview() { // how many examples the next goal still needs, and how many of them are expected to be wrong
  const most = GOAL - (progress.decided % GOAL);
  let count = 0, wrong = 0;
  for (const rank of queue) {
    if (count === most) break;
    if (!["open", "skipped"].includes(stateOf(all.index[rank]))) continue;
    count += 1;
    wrong += all.wrong ? all.wrong[rank] : 0;
  }
  return [count, wrong];
}

function expected(sum) { return sum < 0.95 ? "less than 1" : "about " + number(Math.round(sum)); }

function drawGoal() {
  const [count, wrong] = toReview();
  const done = progress.decided % GOAL;
  $("bar").firstElementChild.style.width = (count ? (100 * done) / (done + count) : 100) + "%";
  $("bar").setAttribute("aria-valuemax", done + count);
  $("bar").setAttribute("aria-valuenow", done);
  const words = all.wrong ? `: ${expected(wrong)} wrong expected` : "";
  $("goal").textContent = count ? `review ${number(count)} more${words}` : "this list is reviewed";
}

function address(place, size) { return `/picture/${place}?size=${size}&v=${all.version}`; }

function large(place) { // cached, so that a preloaded image is shown at once
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

function sheet(place, known) { // the images of all nearest neighbors in one
  if (!sheets.has(place) && known.neighbors.some((row) => row.length)) {
    const img = new Image();
    img.src = `/neighbors/${place}?v=${all.version}`;
    sheets.set(place, img);
    if (sheets.size > 20) sheets.delete(sheets.keys().next().value);
  }
  return sheets.get(place);
}

function enlarge(img) { // show small images enlarged by a whole factor, but not too large to recognize
  const side = Math.max(img.naturalWidth, img.naturalHeight);
  if (side > 128) return;
  const times = Math.max(1, Math.round(Math.min(512, Math.max(Math.min(256, 20 * side), 10 * side)) / side));
  img.classList.add("small");
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
  for (let step = 1; step < queue.length && places.length < 3 * AHEAD && step < 400; step++) {
    const rank = queue[(at + step) % queue.length];
    if (inState(rank)) places.push(all.index[rank]);
  }
  const soon = places.slice(0, AHEAD);
  if (soon.some((place) => !details.has(place))) fetchDetails(places); // one request serves many decisions
  soon.forEach((place, step) => Promise.resolve(details.get(place)).then((one) => {
    if (!one || one.values || one.problem) return;
    large(place);
    if (step < 3) sheet(place, one);
  }, () => {}));
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
  const most = plain ? 34 : 11;
  words[0].append(make("bdi", middle(given, most)));
  words[1].append(...(given === suggested ? [" "] : ["→ ", make("bdi", middle(suggested, most - 2))]));
  if (!plain) {
    const img = make("img", undefined, { alt: "", draggable: "false", class: "pic" });
    img.fetchPriority = "low";
    img.onload = () => img.classList.toggle("small", Math.max(img.naturalWidth, img.naturalHeight) <= 96);
    img.onerror = () => img.replaceWith(make("span", "no image", { class: "pic" }));
    img.src = address(index, "tile");
    button.append(img);
  } else if (all.texts) button.append(make("bdi", all.texts[rank], { class: "begin" }));
  else if (all.ids) button.append(make("bdi", middle(all.ids[rank], 40), { class: "words" })); // rows of a table have nothing else to tell them apart
  button.append(...words);
  button.title = `${given} → ${suggested}` + (all.wrong ? `; given label wrong: ${chance(all.wrong[rank])}` : "");
  button.addEventListener("click", (event) => {
    if (event.shiftKey || event.ctrlKey || event.metaKey) { pick(place, event.shiftKey); return; }
    at = place; show(); $("current").focus();
  });
  mark(button, index);
  return button;
}

function mark(button, place) {
  const state = stateOf(place), decision = decisions.get(place);
  button.dataset.state = state;
  button.dataset.changed = isChanged(place);
  button.setAttribute("aria-pressed", selected.has(place));
  button.querySelector(".mark")?.remove();
  if (decision) {
    const text = { skip: "skipped", discard: "✕" }[decision.action] || (isChanged(place) ? nameOf(decision.label) : "✓");
    button.append(make("bdi", middle(text, 10), { class: "mark", title: text }));
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
  if (decision) $("badge").append(make("bdi", wording(place, decision)), " ", make("small", "decide again to change it"));
}

function cardChance(row, known) { // of the given label, that it is wrong; of the suggested one, that it is right
  const share = row ? known.right : known.wrong;
  if (share === null || share === undefined) return `${percent(known.chances[row])} by the models`; // an older audit
  return `${row ? "right" : "wrong"}: ${chance(share)}`;
}

function drawCard(row, label, place, known) {
  const card = $(row ? "card-suggested" : "card-given");
  const name = card.querySelector("bdi");
  name.textContent = middle(nameOf(label), 80);
  name.title = nameOf(label);
  card.querySelector(".chance").textContent = known ? cardChance(row, known) : "";
  const box = card.querySelector(".neighbors");
  const texts = known && known.near ? known.near[row].slice(0, NEAR_TEXTS) : [];
  const beside = known && !known.problem && !known.values ? known.neighbors[row] : [];
  const url = beside.length ? sheet(place, known).src : "";
  box.replaceChildren(...beside.map((one, k) => {
    const cell = make("span", undefined, { role: "img", "aria-label": "nearest neighbor labeled " + nameOf(label), title: "nearest neighbor labeled " + nameOf(label) });
    cell.style.backgroundImage = `url("${url}")`;
    cell.style.backgroundPosition = `${20 * k}% ${100 * row}%`; // 6 columns, 2 rows
    return cell;
  }));
  box.classList.toggle("texts", texts.length > 0);
  for (const text of texts) box.append(make("bdi", text, { title: text }));
  if (beside.length || texts.length) box.prepend(make("p", "nearest neighbors"));
  if (known && !known.values && !known.problem && !beside.length) box.append(make("p", "no nearest neighbors were stored"));
}

const NEAR_TEXTS = 4; // neighbors shown as text, which takes more room than an image

function drawRow(known, means) { // a row as it is written in the table, free text first; numbers with means are below
  const list = make("dl", undefined, { class: "row" });
  for (const [name, content, free] of known.row.cells) {
    if (means.has(name)) continue;
    const line = make("div", undefined, free ? { class: "text" } : {});
    const cell = make("dd");
    cell.append(content === "" ? make("span", "(empty)", { class: "hint" }) : make("bdi", content));
    line.append(make("dt", name), cell);
    list.append(line);
  }
  if (known.row.more) list.append(make("p", `and ${number(known.row.more)} more ${known.row.more === 1 ? "column" : "columns"}`, { class: "hint" }));
  return list;
}

function drawValues(place, known) {
  const rank = rankOf.get(place), box = make("div", undefined, { class: "values", tabindex: "0" });
  const means = new Set(known.values.map(([name]) => name));
  const written = new Map(known.row ? known.row.cells.map(([name, content]) => [name, content]) : []);
  if (known.row && known.row.cells.some(([name]) => !means.has(name))) box.append(drawRow(known, means));
  if (!known.values.length) return box; // a table of texts
  const table = make("table"), head = make("tr"), body = make("tbody");
  for (const text of ["", "this row", ...[all.given[rank], all.suggested[rank]].map((label) => "mean of " + middle(nameOf(label), 24))]) head.append(make("th", text, { scope: "col" }));
  const short = (value) => (value === null ? "" : Number(value.toPrecision(4)).toString());
  for (const [name, value, given, suggested] of known.values) {
    const row = make("tr");
    row.append(make("th", name, { scope: "row" }), make("td", written.has(name) ? written.get(name) || "(empty)" : short(value)));
    const nearer = Math.abs(value - given) - Math.abs(value - suggested);
    row.append(make("td", short(given), { class: nearer < 0 ? "near" : "" }), make("td", short(suggested), { class: nearer > 0 ? "near" : "" }));
    body.append(row);
  }
  table.append(make("thead"), body);
  table.tHead.append(head);
  box.append(table, make("p", "Bold: the class mean closer to this row.", { class: "hint" }));
  return box;
}

function finish() {
  const left = $("which").value === "flagged" && all.flagged < all.index.length;
  const unflagged = all.index.map((_, rank) => rank).slice(all.flagged).filter((rank) => STATES.open(all.index[rank])).slice(0, GOAL);
  const wrong = all.wrong ? unflagged.reduce((sum, rank) => sum + all.wrong[rank], 0) : null;
  const words = queue.length || $("state").value === "open" ? "All examples in this list are decided." : "No example matches these filters.";
  $("empty").replaceChildren(make("p", words), make("p", left ? "Change the filters to see more; “all” includes labels that were not flagged." : "Change the filters to see more."),
    ...(left && wrong !== null && unflagged.length ? [make("p", `Of the next ${number(unflagged.length)} labels, which were not flagged, ${expected(wrong)} should be wrong.`)] : []),
    make("p", "Download the corrected labels with CSV at the top, or export them with:"), make("code", all.export));
  $("empty").hidden = false;
  $("frame").hidden = $("panel").hidden = true;
  drawGrid();
  document.documentElement.dataset.shown = "none";
}

async function show() {
  if (!queue.length) { finish(); return; }
  const place = position(), rank = queue[at];
  $("empty").hidden = true;
  $("frame").hidden = $("panel").hidden = false;
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
  drawCard(0, given, place, known);
  drawCard(1, suggested, place, known);
  $("card-suggested").hidden = given === suggested;
  $("score").textContent = known ? `${known.score < 0.001 ? "under 0.001" : known.score} (0 likely mislabeled, 1 likely correct)` + (rank < all.flagged ? "" : all.trusted && all.trusted[rank] ? ", checked by hand" : ", not flagged") : "";
  $("card-given").querySelector("small").textContent = all.trusted && all.trusted[rank] ? "given label, checked by hand" : "given label";
  $("why").textContent = known ? known.why : "";
  $("id").textContent = known ? known.id : "";
  $("probable").replaceChildren(...(known ? known.probable : []).map(([label, share], k) => {
    const button = make("button", undefined, { type: "button" });
    button.append(make("kbd", String(k + 1)), make("bdi", middle(nameOf(label), 34), { title: nameOf(label) }), make("span", percent(share), { class: "chance" }));
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
  pictures.delete(place); // so that it is requested again on the next visit
  let why = "the image cannot be shown";
  try { const answer = await fetch(img.src); if (answer.status === 404) why = await answer.text(); } catch (error) { /* the banner reports it */ }
  if (position() === place) $("stage").replaceChildren(make("p", why.trim(), { class: "none" }));
}
