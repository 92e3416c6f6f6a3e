"use strict";
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
  }), ...(offered.length ? [] : [make("li", "no class name contains this", { class: "none" })]));
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

// One key per class ---------------------------------------------------------------------------------

const LETTERS = [..."abdefghijlmopqrty"]; // no action has these
const classKeys = new Map(); // letter -> label

function assignKeys() { // a letter of the name if one is free; with many classes, the most frequent get a key
  const counts = new Map();
  for (const label of all.given) counts.set(label, (counts.get(label) || 0) + 1);
  const labels = all.classes.map((_, label) => label).sort((one, other) => (counts.get(other) || 0) - (counts.get(one) || 0) || one - other)
    .slice(0, LETTERS.length).sort((one, other) => one - other);
  const letterOf = new Map();
  const give = (label, letters) => {
    const letter = letters.find((one) => LETTERS.includes(one) && !classKeys.has(one));
    if (letter === undefined || letterOf.has(label)) return;
    classKeys.set(letter, label);
    letterOf.set(label, letter);
  };
  for (const label of labels) give(label, [...nameOf(label).toLowerCase()].slice(0, 1));
  for (const label of labels) give(label, [...nameOf(label).toLowerCase()]);
  for (const label of labels) give(label, LETTERS);
  $("fixed").replaceChildren(...labels.map((label) => {
    const button = make("button", undefined, { type: "button" });
    button.append(make("kbd", letterOf.get(label)), make("bdi", middle(nameOf(label), 34), { title: nameOf(label) }));
    button.addEventListener("click", () => { decide("chosen", label); $("current").focus(); });
    return button;
  }));
  if (labels.length < all.classes.length) $("fixed-caption").textContent = `one key per class, of the ${labels.length} most frequent`;
}

// Keys and buttons ---------------------------------------------------------------------------------

const ACTIONS = {
  keep: () => decide("keep"),
  suggested: () => decide("suggested"),
  discard: () => decide("discard"),
  skip: () => decide("skip"),
  choose: openChooser,
  undo,
  select: () => { pick(at, false); move(1); },
  many: openMany,
};
const KEYS = { k: "keep", s: "suggested", Enter: "suggested", x: "discard", n: "skip", " ": "skip", c: "choose", u: "undo", v: "select", w: "many" };

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || document.querySelector("dialog[open]")) return;
  const on = document.activeElement?.tagName;
  if (["INPUT", "SELECT", "TEXTAREA"].includes(on)) return;
  if (["BUTTON", "A"].includes(on) && ["Enter", " "].includes(event.key)) return; // the focused button or link handles these
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const columns = getComputedStyle($("grid")).gridTemplateColumns.split(" ").length;
  const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns, PageUp: -TILES, PageDown: TILES }[key];
  if (step) { move(step); event.preventDefault(); return; }
  if (key === "z") { document.body.classList.toggle("pixels"); return; }
  if (key === "?") { $("help").showModal(); event.preventDefault(); return; }
  const digit = /^[1-9]$/.test(key) ? Number(key) : 0;
  if (!KEYS[key] && !digit && !classKeys.has(key)) return;
  event.preventDefault();
  if (event.repeat) return; // a key that is held down decides once
  if (key !== "u" && !$("empty").hidden) return;
  if (digit) {
    const known = details.get(position());
    const row = known && !(known instanceof Promise) ? known.probable[digit - 1] : null;
    if (row) decide("chosen", row[0]);
  } else if (classKeys.has(key)) decide("chosen", classKeys.get(key));
  else ACTIONS[KEYS[key]]();
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

// Startup ------------------------------------------------------------------------------------------

async function begin() {
  if (location.search) history.replaceState(null, "", "/"); // remove the token from the address
  try {
    Object.assign(all, await ask("/api/audit"));
    $("download").href = "/corrected.csv?v=" + all.version;
    all.index.forEach((place, rank) => rankOf.set(place, rank));
    take(await ask("/api/decisions?since=0"));
    const slow = setTimeout(() => say("loading the data …", "busy"), 700);
    const first = (await ask("/api/details?at=" + all.index[0], undefined, 600))[all.index[0]];
    plain = Boolean(first.values || first.problem);
    $("grid").classList.toggle("plain", plain);
    clearTimeout(slow);
    say("");
  } catch (error) {
    if (error instanceof Gone) gone(error); else say(error.message, "bad");
    return;
  }
  $("title").textContent = middle(all.name, 40);
  $("title").title = all.name;
  document.title = "Review: " + all.name;
  assignKeys();
  $("export").textContent = all.export;
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
