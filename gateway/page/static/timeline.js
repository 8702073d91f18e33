// Timelines that lead through the video: a button for each judged window, and the place that is shown.

import { t } from "./texts.js";

const UNITS = 1000;

/** Let the timelines below `root` seek in the player. */
export function connectTimelines(root, player, durationSeconds) {
  const heads = [];
  for (const track of root.querySelectorAll(".track")) {
    const drawing = track.querySelector("svg");
    for (const bar of drawing.querySelectorAll(".bar")) track.append(buttonFor(bar, player));
    const head = document.createElement("span");
    head.className = "head";
    track.append(head);
    heads.push(head);
    track.classList.add("connected");
    track.addEventListener("click", (event) => {
      if (event.target.closest("button")) return;
      const place = drawing.getBoundingClientRect();
      player.seek(((event.clientX - place.left) / place.width) * durationSeconds);
    });
  }
  player.element.addEventListener("time", ({ detail: seconds }) => {
    const share = Math.max(0, Math.min(1, seconds / Math.max(durationSeconds, 0.001)));
    for (const head of heads) head.style.left = `${100 * share}%`;
  });
}

function buttonFor(bar, player) {
  const { start, label } = bar.dataset;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "segment";
  button.style.left = `${(100 * Number(bar.getAttribute("x"))) / UNITS}%`;
  button.style.width = `${(100 * Number(bar.getAttribute("width"))) / UNITS}%`;
  const text = t("live.seek", { label });
  button.setAttribute("aria-label", text);
  button.title = text;
  button.addEventListener("click", () => player.seek(Number(start)));
  return button;
}
