"use strict";
// Deciding many examples at once: the selected ones, or the whole list -------------------------------

const MOST = 100_000; // examples per request

function pick(place, range) { // toggle the example at a place of the queue; with `range`, select all from the current one to it
  const [from, to] = range ? [Math.min(at, place), Math.max(at, place)] : [place, place];
  for (let one = from; one <= to; one++) {
    const index = all.index[queue[one]];
    if (!range && selected.has(index)) selected.delete(index); else selected.add(index);
    drawMark(index);
  }
  drawMany();
}

function concerned() { // positions that the next decision on many concerns; of the list, those without a decision
  if (selected.size) return [...selected].slice(0, MOST);
  return queue.map((rank) => all.index[rank]).filter((place) => ["open", "skipped"].includes(stateOf(place))).slice(0, MOST);
}

function drawMany() {
  const button = $("decide-many");
  button.replaceChildren(selected.size ? `decide ${number(selected.size)} selected ` : "decide the whole list ", make("kbd", "w"));
  button.disabled = !selected.size && toReview()[0] === 0;
  $("clear").hidden = selected.size === 0;
}

function openMany() {
  const places = concerned();
  if (!places.length || busy) return;
  const ranks = places.map((place) => rankOf.get(place));
  const pairs = new Set(ranks.map((rank) => `${all.given[rank]}>${all.suggested[rank]}`));
  const count = places.length === 1 ? "1 example" : `${number(places.length)} examples`;
  $("batch-title").textContent = selected.size ? `Decide ${count} that you selected` : `Decide all ${count} of this list without a decision`;
  const [given, suggested] = [all.given[ranks[0]], all.suggested[ranks[0]]].map((label) => middle(nameOf(label), 40));
  const about = pairs.size > 1 ? `Pairs of given and suggested label: ${number(pairs.size)}.` : `Given label ${given}, suggested label ${suggested}.`;
  const sum = (shares) => expected(ranks.reduce((total, rank) => total + shares[rank], 0));
  const likely = all.wrong ? ` Expected: ${sum(all.wrong)} of the given labels wrong, ${sum(all.right)} of the suggested labels right.` : "";
  $("batch-words").textContent = about + likely;
  $("batch-class").replaceChildren(...all.classes.map((name, label) => make("option", middle(name, 40), { value: label })));
  $("batch").showModal();
}

function applyMany(action) {
  const places = concerned();
  $("batch").close();
  decideMany(places, action, Number($("batch-class").value));
}

for (const button of document.querySelectorAll("[data-many]")) {
  button.addEventListener("click", () => applyMany(button.dataset.many));
}
$("batch").addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.target.tagName === "SELECT") return;
  const action = { k: "keep", s: "suggested", x: "discard", n: "skip" }[event.key.toLowerCase()];
  if (action) { event.preventDefault(); applyMany(action); }
});
$("decide-many").addEventListener("click", openMany);
$("clear").addEventListener("click", () => {
  const places = [...selected];
  selected.clear();
  places.forEach(drawMark);
  drawMany();
  $("current").focus();
});
