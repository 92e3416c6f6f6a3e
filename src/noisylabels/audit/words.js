"use strict";
// How the audit page and the review write probabilities and long names.

// A probability in percent; near 0 and 1 with so many digits that two of them differ.
function chance(share) {
  const rest = 100 * Math.min(share, 1 - share);
  if (rest < 0.01) return share < 0.5 ? "under 0.01\u00a0%" : "over 99.99\u00a0%";
  return `${(100 * share).toFixed(rest < 0.5 ? 2 : rest < 5 ? 1 : 0)}\u00a0%`;
}

// The filled share of a bar, in log-odds, so that probabilities near 1 differ: 1 % none, 50 % a third, 99 % two thirds.
function fill(share) {
  const odds = Math.log10(Math.max(share, 1e-9) / Math.max(1 - share, 1e-9)) / Math.log10(99);
  return Math.min(1, Math.max(0, (odds + 1) / 3));
}

// A name of at most `most` characters: the beginning and the end of a long one, which tell similar names apart.
function middle(name, most) {
  const letters = [...name];
  if (letters.length <= most) return name;
  const end = Math.floor((most - 1) / 2);
  return `${letters.slice(0, most - 1 - end).join("")}…${letters.slice(letters.length - end).join("")}`;
}
