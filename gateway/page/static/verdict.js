// Puts a verdict into its place: words, player, timelines.

import { Player } from "./player.js";
import { t } from "./texts.js";
import { connectTimelines } from "./timeline.js";
import { Refused } from "./upload.js";

const POLL_MS = 700;
const RETRY_MS = 1000;
const ATTEMPTS = 3;
const ERROR_OF_STATUS = { 401: "Unauthenticated", 404: "JobNotFound" };

/** Read the boxes, the duration and the sentence of an ended job. */
export async function readPresentation(id) {
  return (await read(id, "presentation")).json();
}

/** Read whether there is a preview ("coming", "ready", "none"), and the seconds that a window takes. */
export async function readPreview(id) {
  return (await read(id, "preview")).json();
}

/** Read the verdict in words, as elements. */
export async function readVerdict(id) {
  const answer = await read(id, "verdict.html");
  const parsed = new DOMParser().parseFromString(await answer.text(), "text/html");
  return [...parsed.body.children].map((element) => document.adoptNode(element));
}

/** Fetch a part of a job's result; what fails for a moment is asked again. */
async function read(id, part) {
  for (let attempt = 1; ; attempt += 1) {
    try {
      const answer = await fetch(`/jobs/${encodeURIComponent(id)}/${part}`);
      if (answer.ok) return answer;
      if (answer.status < 500) attempt = ATTEMPTS;
      throw new Refused(ERROR_OF_STATUS[answer.status] ?? "Disconnected", `HTTP ${answer.status}`);
    } catch (error) {
      if (attempt >= ATTEMPTS) throw error;
      await sleep(RETRY_MS);
    }
  }
}

function sleep(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/**
 * Show the visitor's own file below `root`; `kind` as of probe.js. Where the gateway judged many frames of what
 * the browser shows as one picture, an animation, nobody knows which of them is shown: it gets no boxes.
 */
export function showOwnFile(root, file, kind, given) {
  const presentation = kind === "picture" && !given.is_picture ? { ...given, boxes: [] } : given;
  const url = URL.createObjectURL(file);
  const media = document.createElement(kind === "picture" ? "img" : "video");
  if (kind === "picture") media.alt = t("live.picture", { name: file.name });
  show(root, media, { url, label: file.name, note: t("live.own_file"), presentation });
  return () => URL.revokeObjectURL(url);
}

/** Show the gateway's small copy below `root`, once it is there, or say that there is none; never throw. */
export async function showPreview(root, id, name, presentation, signal) {
  const state = await previewOf(id, signal);
  if (signal?.aborted) return;
  if (state === "ready") {
    const url = `/jobs/${encodeURIComponent(id)}/preview.mp4`;
    show(root, document.createElement("video"), { url, label: name, note: t("live.preview"), presentation });
  } else {
    const said = document.createElement("p");
    said.className = "quiet";
    said.textContent = t("live.no_player");
    root.querySelector(".player-place").replaceChildren(said);
  }
}

async function previewOf(id, signal) {
  try {
    while (!signal?.aborted) {
      const { preview } = await readPreview(id);
      if (preview !== "coming") return preview;
      await sleep(POLL_MS);
    }
  } catch {
    // The verdict stands without it.
  }
  return "none";
}

function show(root, media, { url, label, note, presentation }) {
  if (media instanceof HTMLVideoElement) {
    media.controls = true;
    media.muted = true;
    media.playsInline = true;
    media.preload = "auto";
    media.setAttribute("aria-label", t("live.player", { name: label }));
  }
  const player = new Player(media, presentation.boxes, note);
  media.src = url;
  root.querySelector(".player-place").replaceChildren(player.element);
  if (player.isVideo && presentation.duration_seconds) connectTimelines(root, player, presentation.duration_seconds);
  return player;
}
