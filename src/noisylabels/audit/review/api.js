"use strict";
// Names and other untrusted data from the server's JSON enter the page as text, never as HTML.

const $ = (id) => document.getElementById(id);
const token = (() => { // in the page as it is opened; kept for a reload, for this tab and this port alone
  const given = document.querySelector("meta[name=token]").content;
  try {
    if (given) sessionStorage.setItem("token", given);
    return given || sessionStorage.getItem("token") || "";
  } catch (error) { return given; } // storage is off
})();
const TILES = 48; // examples per page of the grid
const GOAL = 100; // reviewed examples per goal
const AHEAD = 8; // examples whose images are preloaded; details are preloaded for three times as many
const all = { index: [], given: [], suggested: [], wrong: null, right: null, classes: [], flagged: 0, version: "", name: "", ids: null, texts: null, trusted: null, export: "" };
const rankOf = new Map(); // position in the audited set -> place in the lists of `all`, lowest label quality first
const decisions = new Map(); // position -> { action, label }
const details = new Map(); // position -> the server's details, or the promise of them
const sheets = new Map(); // position -> an <img> with the images of its nearest neighbors
const pictures = new Map(); // position -> an <img> that is loaded or loading
let seq = 0; // number of the last known event
let progress = null;
let queue = []; // ranks of the examples that the filters show
let at = 0; // place in the queue
let busy = false; // a decision is being saved
let unsure = null; // a decision without an answer: sent again, it keeps its event id
let tab = null; // page of the grid that is shown
let plain = false; // there are no images: rows of values, or data that cannot be loaded

function make(kind, text, attributes) {
  const made = document.createElement(kind);
  if (text !== undefined) made.textContent = text;
  for (const [name, value] of Object.entries(attributes || {})) made.setAttribute(name, value);
  return made;
}

const selected = new Set(); // positions of the examples that the next decision on many concerns
const percent = (share) => (share === null || share === undefined ? "" : (share < 0.005 ? "<1" : share >= 0.995 ? ">99" : Math.round(100 * share)) + "\u00a0%"); // no prediction is certain
const position = () => (queue.length ? all.index[queue[at]] : null);
const nameOf = (label) => all.classes[label];
const number = (value) => value.toLocaleString("en");

// Requests to the server --------------------------------------------------------------------------

async function ask(path, body, seconds = 15) {
  const options = { credentials: "omit", cache: "no-store", headers: { Authorization: "Bearer " + token }, signal: AbortSignal.timeout(1000 * seconds), priority: "high" };
  if (body) {
    Object.assign(options, { method: "POST", body: JSON.stringify(body) });
    Object.assign(options.headers, { "Content-Type": "application/json", "X-NoisyLabels": "review" });
  }
  let answer;
  try { answer = await fetch(path, options); } catch (error) { throw new Gone(); }
  if (answer.status === 403) throw new Gone("restarted");
  if (!answer.ok) {
    const said = await answer.json().catch(() => ({}));
    throw new Error(said.error || "the server returned status " + answer.status);
  }
  try { return await answer.json(); } catch (error) { throw new Gone(); } // cut off in the middle
}

class Gone extends Error {}

function gone(error) {
  const box = $("gone");
  if (!error) { box.hidden = true; return; }
  box.textContent = error.message === "restarted"
    ? "The server was restarted: open the address that it printed. Nothing can be saved from this page."
    : "The server does not answer: nothing can be saved. Run `noisylabels review` again and open the address that it prints. Every decision that this page reported as saved is on disk.";
  box.hidden = false;
}

function say(text, kind) {
  $("saved").textContent = text;
  $("saved").title = text;
  $("saved").className = kind || "";
}

function take(answer) { // apply changes by this and other clients
  if (answer.seq < seq) return; // a later answer, which includes this one, arrived first
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
  if (busy) return; // the next example is not shown yet, so a key pressed now was not meant for it
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
  if (place === null || document.documentElement.dataset.shown !== String(place)) return; // not shown yet
  if (action === "suggested" && all.suggested[queue[at]] === all.given[queue[at]]) action = "keep";
  const body = { index: place, action };
  if (action === "chosen") body.label = label;
  send("/api/decide", body, () => {
    const now = decisions.get(place);
    const reached = action !== "skip" && progress.decided % GOAL === 0;
    say(reached ? `saved; ${number(progress.decided)} reviewed, ${number(progress.changed)} wrong` : "saved: " + (now ? wording(place, now) : ""));
    if (position() === place) next();
  });
}

function decideMany(places, action, label) { // all are saved, or none
  const body = { indexes: places, action };
  if (action === "chosen") body.label = label;
  send("/api/decide-many", body, () => {
    say(`saved: ${number(places.length)}; u undoes all`);
    selected.clear();
    tab = null;
    next();
  });
}

function undo() {
  send("/api/undo", {}, (answer) => {
    if (answer.nothing) { say("nothing to undo", "quiet"); return; }
    const ranks = answer.undone.map((place) => rankOf.get(place)).sort((one, other) => one - other);
    say(ranks.length > 1 ? `saved: ${number(ranks.length)} decisions undone` : "saved: undone");
    if (!ranks.length) return;
    if (ranks.length > 1) list();
    const rank = ranks[0];
    const place = queue.indexOf(rank);
    if (place >= 0) { at = place; } else { queue.splice(at, 0, rank); tab = null; }
    show();
  });
}
