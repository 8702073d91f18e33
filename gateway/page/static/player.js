// A video or a picture with the boxes of persons drawn over it, in step with what is shown.

import { t } from "./texts.js";

const COLORS = { fake: "#b3261e", real: "#1c6b34", uncertain: "#8a5300", unjudged: "#4d555e" };

const TOLERANCE_S = 0.5; // the last frame is shown a little before the end of the timeline

export class Player {
  /**
   * `media` is a <video> or an <img>, `boxes` those of /presentation. Events of `element`: "time", with the
   * seconds in `detail`.
   */
  constructor(media, boxes, note) {
    this.media = media;
    this.boxes = boxes;
    this.isVideo = media instanceof HTMLVideoElement;
    this.canvas = document.createElement("canvas");
    this.canvas.setAttribute("aria-hidden", "true");
    this.element = document.createElement("figure");
    this.element.className = "player";
    const stage = document.createElement("div");
    stage.className = "stage";
    stage.append(media, this.canvas);
    this.element.append(stage, this.#caption(note));
    new ResizeObserver(() => this.draw()).observe(media);
    this.#follow();
  }

  /** Show the moment `seconds`, or say that what is played ends before it. */
  seek(seconds) {
    if (!this.isVideo) return;
    const end = this.media.duration;
    const isBeyond = seconds > end + TOLERANCE_S; // unknown before the browser has read the start: false
    this.said.textContent = isBeyond ? t("live.beyond_end", { end: clock(end) }) : this.note;
    if (isBeyond) return;
    this.media.currentTime = Math.min(seconds + 0.001, end || seconds);
    this.element.scrollIntoView({ block: "nearest" });
  }

  /** Draw the boxes of the moment that is shown. */
  draw(seconds = this.isVideo ? this.media.currentTime : 0) {
    const { canvas, media } = this;
    const scale = window.devicePixelRatio || 1;
    const width = media.clientWidth;
    const height = media.clientHeight;
    if (!width || !height) return;
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    const context = canvas.getContext("2d");
    context.scale(scale, scale);
    canvas.dataset.shown = "";
    if (!this.checkbox.checked) return;
    const picture = contentOf(media, width, height);
    const shown = this.isVideo ? boxesAt(this.boxes, seconds) : this.boxes.map((part) => [part, part.boxes[0]]);
    for (const [part, box] of shown) drawBox(context, picture, part, box);
    canvas.dataset.shown = shown.map(([part]) => part.person).join(" ");
  }

  #caption(note) {
    const caption = document.createElement("figcaption");
    const label = document.createElement("label");
    this.checkbox = document.createElement("input");
    this.checkbox.type = "checkbox";
    this.checkbox.checked = true;
    this.checkbox.addEventListener("change", () => this.draw());
    label.append(this.checkbox, ` ${t("live.boxes")}`);
    this.note = note;
    this.said = document.createElement("span");
    this.said.className = "quiet";
    this.said.setAttribute("role", "status");
    this.said.textContent = note;
    if (this.boxes.length > 0) caption.append(label);
    caption.append(this.said);
    return caption;
  }

  #follow() {
    const { media } = this;
    const tell = (seconds) => {
      this.draw(seconds);
      this.element.dispatchEvent(new CustomEvent("time", { detail: seconds }));
    };
    media.addEventListener(this.isVideo ? "loadeddata" : "load", () => this.draw());
    if (!this.isVideo) return;
    for (const name of ["seeked", "timeupdate", "pause"]) media.addEventListener(name, () => tell(media.currentTime));
    if ("requestVideoFrameCallback" in media) {
      const onFrame = (_, frame) => {
        tell(frame.mediaTime);
        media.requestVideoFrameCallback(onFrame);
      };
      media.requestVideoFrameCallback(onFrame);
    }
  }
}

/** Return where the picture lies in its element, which may have bars beside it. */
function contentOf(media, width, height) {
  const ownWidth = media.videoWidth || media.naturalWidth || width;
  const ownHeight = media.videoHeight || media.naturalHeight || height;
  const scale = Math.min(width / ownWidth, height / ownHeight);
  const shown = { width: ownWidth * scale, height: ownHeight * scale };
  return { ...shown, left: (width - shown.width) / 2, top: (height - shown.height) / 2 };
}

/** Return pairs of a window and the box in it that is shown at `seconds`. */
export function boxesAt(parts, seconds) {
  const found = [];
  for (const part of parts) {
    let index = -1;
    while (index + 1 < part.seconds.length && part.seconds[index + 1] <= seconds + 0.001) index += 1;
    if (index >= 0 && seconds - part.seconds[index] <= part.hold_seconds) found.push([part, part.boxes[index]]);
  }
  return found;
}

function clock(seconds) {
  const whole = Math.floor(seconds + 0.5);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

function drawBox(context, picture, part, [x1, y1, x2, y2]) {
  const left = picture.left + x1 * picture.width;
  const top = picture.top + y1 * picture.height;
  const width = (x2 - x1) * picture.width;
  const height = (y2 - y1) * picture.height;
  for (const [color, line] of [["#fff", 5], [COLORS[part.reading], 2.5]]) {
    context.strokeStyle = color;
    context.lineWidth = line;
    context.strokeRect(left, top, width, height);
  }
  context.font = "600 14px system-ui, sans-serif";
  const text = t("live.person_box", { person: part.person });
  const labelWidth = context.measureText(text).width + 12;
  const labelTop = top >= picture.top + 24 ? top - 24 : top + height;
  const labelLeft = Math.max(0, Math.min(left - 2, picture.left + picture.width - labelWidth));
  context.fillStyle = COLORS[part.reading];
  context.fillRect(labelLeft, labelTop, labelWidth, 22);
  context.fillStyle = "#fff";
  context.textBaseline = "middle";
  context.fillText(text, labelLeft + 6, labelTop + 11.5);
}
