// One file on the page: from its choice to its verdict.

import { followJob } from "./events.js";
import { kindOf } from "./probe.js";
import { announce, errorText, probabilityText, t } from "./texts.js";
import { Refused, cancelJob, cancelOnLeaving, requireReadable, sendFile } from "./upload.js";
import { readPresentation, readPreview, readVerdict, showOwnFile, showPreview } from "./verdict.js";

export class Card {
  /** `settings`: windows, operatingPoint, maxBytes, maxText. `onPace` gets the seconds a window took. */
  constructor(file, settings, onPace) {
    this.file = file;
    this.settings = settings;
    this.onPace = onPace;
    this.highest = null;
    this.aborting = new AbortController();
    const template = document.getElementById("card").content;
    this.element = document.importNode(template, true).firstElementChild;
    this.name = this.#find(".name");
    this.name.textContent = file.name;
    this.button = this.#find(".cancel");
    this.button.setAttribute("aria-label", t("live.cancel", { name: file.name }));
    this.button.addEventListener("click", () => this.#cancelOrRemove());
    this.progress = this.#find("progress");
    this.progress.setAttribute("aria-label", file.name);
    this.isOver = false;
  }

  /** Send, follow and show the file; every failure is shown, none is thrown. */
  async run() {
    try {
      if (this.file.size > this.settings.maxBytes) {
        throw new Refused("UploadTooLarge", t("live.too_large", { size: this.settings.maxText }));
      }
      this.#say(t("live.checking"));
      await requireReadable(this.file);
      this.kind = await kindOf(this.file);
      const settings = { ...this.settings, wantsPreview: this.kind === "none" };
      this.#say(t("live.waiting"));
      this.id = await sendFile(this.file, settings, {
        onProgress: (share) => this.#sent(share),
        onWait: (seconds) => this.#say(t("live.busy", { seconds }), undefined, true),
        signal: this.aborting.signal,
      });
      if (this.aborting.signal.aborted) {
        if (this.id) cancelJob(this.id);
        this.#canceled();
        return;
      }
      this.#say(t("live.sent"), undefined, true);
      this.stop = followJob(this.id, (name, data) => this.#on(name, data));
    } catch (error) {
      if (!this.isOver) this.#failed(error); // canceled files stay so
    }
  }

  /** Cancel what is under way: the visitor leaves the page, and may come back to it as it was. */
  leave() {
    if (!this.isOver) this.#cancel(cancelOnLeaving);
  }

  #cancel(cancelJob) {
    this.aborting.abort();
    this.stop?.();
    if (this.id) cancelJob(this.id);
    this.#canceled();
  }

  #on(name, data) {
    if (name === "queued") this.#say(t("live.queued", { position: data.position }), undefined, true);
    if (name === "decoded" && this.highest === null) {
      this.#say(t("live.decoding", { done: data.windows_decoded, total: data.num_windows }), 0);
    }
    if (name === "window") this.#window(data);
    if (name === "canceled") this.#canceled();
    if (name === "lost") this.#failed(new Refused(data.error ?? "Disconnected", data.detail ?? ""));
    if (name === "failed" || name === "verdict") {
      this.#ended().catch((error) => this.isOver || this.#failed(error)); // what is shown stays
    }
  }

  #window(data) {
    const { windows_judged: done, num_windows: total, fake_probability: probability } = data;
    this.#say(t("live.window", { done, total }), done / Math.max(total, 1));
    if (probability !== null) this.highest = Math.max(this.highest ?? 0, probability);
    if (this.highest !== null) {
      this.#find(".so-far").textContent = t("live.so_far", { probability: probabilityText(this.highest) });
    }
  }

  async #ended() {
    const [parts, presentation, { seconds_per_window: pace }] = await Promise.all(
      [readVerdict, readPresentation, readPreview].map((read) => read(this.id)),
    );
    if (this.isOver) return; // removed meanwhile
    this.#over();
    const place = this.#find(".verdict-part");
    place.replaceChildren(...parts);
    this.element.dataset.reading = presentation.reading;
    announce(t("live.done", { name: this.file.name, sentence: presentation.sentence }));
    if (pace) this.onPace(pace);
    if (presentation.reading === "failed") return;
    if (this.kind === "none") {
      await showPreview(place, this.id, this.file.name, presentation, this.aborting.signal);
    } else {
      this.release = showOwnFile(place, this.file, this.kind, presentation);
    }
  }

  #sent(share) {
    this.#say(t("live.uploading", { percent: Math.floor(100 * share) }), share);
  }

  #say(text, share, isAnnounced = false) {
    this.#find(".state").textContent = text;
    if (share === undefined) this.progress.removeAttribute("value");
    else this.progress.value = share;
    if (isAnnounced) announce(`${this.file.name}: ${text}`);
  }

  #failed(error) {
    const name = error instanceof Refused ? error.name : "Disconnected";
    this.#over();
    const said = document.createElement("p");
    said.className = "verdict failed";
    said.textContent = errorText(name);
    const place = this.#find(".verdict-part");
    place.replaceChildren(said);
    if (error.message) {
      const detail = document.createElement("p");
      detail.className = "quiet";
      detail.textContent = t("error.detail", { detail: error.message });
      place.append(detail);
    }
    this.element.dataset.reading = "failed";
    announce(t("live.done", { name: this.file.name, sentence: said.textContent }));
  }

  #canceled() {
    this.#over();
    const said = document.createElement("p");
    said.className = "state";
    said.textContent = t("live.canceled");
    this.#find(".verdict-part").replaceChildren(said);
    this.element.dataset.reading = "canceled";
    announce(t("live.done", { name: this.file.name, sentence: t("live.canceled") }));
  }

  #over() {
    if (this.isOver) return;
    this.isOver = true;
    this.stop?.();
    this.#find(".progress").hidden = true;
    this.button.textContent = t("live.remove_short");
    this.button.setAttribute("aria-label", t("live.remove", { name: this.file.name }));
  }

  #cancelOrRemove() {
    if (this.isOver) {
      this.release?.();
      this.aborting.abort(); // no longer wait for a preview
      if (this.id) cancelJob(this.id);
      this.element.dispatchEvent(new CustomEvent("removed", { bubbles: true }));
      return;
    }
    this.#cancel(cancelJob);
  }

  #find(selector) {
    return this.element.querySelector(selector);
  }
}
