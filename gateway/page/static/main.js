// The start page: files come by choice, drop or paste, and each becomes a card.

import { Card } from "./card.js";
import { t } from "./texts.js";

const form = document.getElementById("form");
const input = document.getElementById("file");
const drop = document.getElementById("drop");
const windows = document.getElementById("windows");
const message = document.getElementById("form-message");
const results = document.getElementById("results");
const cards = document.getElementById("cards");
const shown = new Map();
let held = []; // files that wait until the number of windows is one that can be used
let secondsPerWindow = Number(form.dataset.secondsPerWindow) || null;

function start() {
  input.multiple = true;
  input.required = false;
  form.noValidate = true;
  for (const element of document.querySelectorAll(".with-script")) element.hidden = false;
  input.addEventListener("change", () => takeInput());
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (input.files.length > 0 || held.length > 0) takeInput();
    else input.click();
  });
  windows.addEventListener("input", tellCost);
  document.addEventListener("paste", (event) => {
    if (event.clipboardData?.files.length) take([...event.clipboardData.files]);
  });
  listenForDrops();
  cards.addEventListener("removed", (event) => remove(event.target));
  if (input.files.length > 0) takeInput(); // chosen before this script was there
  window.addEventListener("pagehide", () => {
    for (const card of shown.values()) card.leave();
  });
}

function listenForDrops() {
  const isOver = (state) => drop.classList.toggle("over", state);
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    isOver(true);
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) isOver(false);
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    isOver(false);
    take([...(event.dataTransfer?.files ?? [])]);
  });
}

function takeInput() {
  const files = [...input.files];
  input.value = "";
  take(files);
}

function take(given) {
  const files = [...held, ...given];
  message.textContent = files.length === 0 ? t("live.no_files") : "";
  held = [];
  if (!windows.checkValidity()) {
    held = files;
    if (files.length > 0) message.textContent = t("live.held", { count: files.length });
    windows.reportValidity();
    return;
  }
  for (const file of files) {
    const card = new Card(file, settings(), tellPace);
    shown.set(card.element, card);
    cards.prepend(card.element);
    card.run();
  }
  showResults();
  if (files.length > 0) cards.firstElementChild.scrollIntoView({ block: "nearest" });
}

function settings() {
  return {
    windows: Number(windows.value),
    operatingPoint: document.getElementById("point").value,
    maxBytes: Number(form.dataset.maxBytes),
    maxText: form.dataset.maxText,
  };
}

function remove(element) {
  const next = element.nextElementSibling ?? element.previousElementSibling;
  shown.delete(element);
  element.remove();
  showResults();
  (next?.querySelector(".name") ?? input).focus();
}

/** Show the results; the model's limits stand beside each of them, and below the form while there is none. */
function showResults() {
  results.hidden = shown.size === 0;
  const limits = document.getElementById("limits");
  if (limits) limits.hidden = shown.size > 0;
}

function tellPace(seconds) {
  secondsPerWindow = seconds;
  tellCost();
}

function tellCost() {
  const count = Number(windows.value) || 0;
  const values = { windows: count, frames: form.dataset.frames };
  const seconds = Math.max(1, Math.ceil(count * (secondsPerWindow ?? 0)));
  const text = secondsPerWindow ? t("form.cost", { ...values, seconds }) : t("form.cost_unknown", values);
  document.getElementById("cost").textContent = text;
}

start();
