// The page of one job: follows it, and brings the player and the timelines to life.

import { followJob } from "./events.js";
import { errorText, t } from "./texts.js";
import { readPresentation, readPreview, showPreview } from "./verdict.js";

const root = document.getElementById("job");
const { job, open } = root.dataset;
const place = root.querySelector(".player-place");
root.dataset.followed = ""; // reload.js need not do it

if (!place && open !== undefined) {
  followJob(job, show);
} else if (place) {
  const [presentation, { preview }] = await Promise.all([readPresentation(job), readPreview(job)]);
  if (!presentation.is_picture && preview !== "none") {
    await showPreview(root, job, root.querySelector(".name").textContent, presentation);
  }
}

function show(name, data) {
  if (["verdict", "failed", "canceled"].includes(name)) location.reload();
  if (name === "queued") say(t("live.queued", { position: data.position }));
  if (name === "decoded" && !root.dataset.judged) {
    say(t("live.decoding", { done: data.windows_decoded, total: data.num_windows }));
  }
  if (name === "window") {
    const { windows_judged: done, num_windows: total } = data;
    root.dataset.judged = done;
    say(t("live.window", { done, total }), done / Math.max(total, 1));
  }
  if (name === "lost") {
    say(errorText(data.error ?? "Disconnected"));
    root.querySelector("progress").hidden = true;
  }
}

function say(text, share) {
  const progress = root.querySelector("progress");
  root.querySelector(".state").textContent = text;
  progress.setAttribute("aria-label", text);
  progress.max = 1;
  if (share === undefined) progress.removeAttribute("value");
  else progress.value = share;
}
