// Sends files to the gateway: a few at once, with progress, until somebody cancels.

const AT_ONCE = 2; // beside two streams of events, of the six connections that a browser opens to one host
const LONGEST_WAIT_S = 60;
const BUSY = [429, 503];
const waiting = [];
let running = 0;

/** An error of the gateway: `name` as in errors.py, and its text; `retryAfter` in seconds, or 0. */
export class Refused extends Error {
  constructor(name, detail, retryAfter = 0) {
    super(detail);
    this.name = name;
    this.retryAfter = retryAfter;
  }
}

/** Refuse what a browser hands over and cannot read, such as a folder, or a file that is gone. */
export async function requireReadable(file) {
  const reader = file.stream().getReader(); // not a slice: of a file that is gone, that may be an empty one
  try {
    await reader.read();
    await reader.cancel();
  } catch {
    throw new Refused("VideoUnreadable", "");
  }
}

/**
 * Send a file as a job; resolve with the job's id, or null if it was canceled.
 * `settings`: windows, operatingPoint, wantsPreview. `onProgress` gets the share that was sent, 0…1, first 0
 * when it is the file's turn, and `onWait` the seconds until a busy gateway is asked again.
 */
export function sendFile(file, settings, { onProgress, onWait, signal }) {
  return new Promise((resolve, reject) => {
    const start = () =>
      sendUntilTaken(file, settings, { onProgress, onWait, signal }).then(resolve, reject).finally(startNext);
    waiting.push({ start, signal, drop: () => resolve(null) });
    startNext(true);
  });
}

function startNext(isNew = false) {
  if (isNew !== true) running -= 1;
  while (running < AT_ONCE && waiting.length > 0) {
    const next = waiting.shift();
    if (next.signal.aborted) {
      next.drop();
    } else {
      running += 1;
      next.start();
    }
  }
}

async function sendUntilTaken(file, settings, { onProgress, onWait, signal }) {
  for (;;) {
    try {
      onProgress(0);
      await requireReadable(file);
      if (signal.aborted) return null;
      return await send(file, settings, { onProgress, signal });
    } catch (error) {
      if (!error.retryAfter) throw error;
      const seconds = Math.min(LONGEST_WAIT_S, error.retryAfter);
      onWait(seconds);
      await sleep(1000 * seconds, signal);
      if (signal.aborted) return null;
    }
  }
}

function sleep(milliseconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    });
  });
}

function send(file, settings, { onProgress, signal }) {
  return new Promise((resolve, reject) => {
    const query = new URLSearchParams({ windows: settings.windows });
    if (settings.operatingPoint) query.set("operating_point", settings.operatingPoint);
    const body = new FormData();
    if (settings.wantsPreview) body.append("preview", "1");
    body.append("file", file, file.name || "pasted");
    const request = new XMLHttpRequest();
    request.open("POST", `/v1/detect?${query}`);
    request.setRequestHeader("Prefer", "respond-async");
    request.responseType = "json";
    request.upload.addEventListener("progress", (event) => {
      if (event.lengthComputable) onProgress(event.loaded / event.total);
    });
    request.addEventListener("load", () => {
      const answer = request.response;
      if (request.status < 300 && answer?.id) {
        resolve(answer.id);
        return;
      }
      const wait = BUSY.includes(request.status) ? Number(request.getResponseHeader("Retry-After")) || 0 : 0;
      reject(new Refused(answer?.error ?? "other", answer?.detail ?? `HTTP ${request.status}`, wait));
    });
    request.addEventListener("error", () =>
      requireReadable(file).then(() => reject(new Refused("Disconnected", "")), reject),
    );
    request.addEventListener("abort", () => resolve(null));
    signal.addEventListener("abort", () => request.abort());
    request.send(body);
  });
}

/** Cancel a job, or let the gateway forget an ended one. */
export function cancelJob(id) {
  return fetch(`/v1/jobs/${encodeURIComponent(id)}`, { method: "DELETE" }).catch(() => {});
}

/** Cancel a job while the page is being left, when nothing but a beacon is sure to be sent. */
export function cancelOnLeaving(id) {
  const csrf = document.querySelector("input[name=csrf]")?.value ?? "";
  navigator.sendBeacon(`/jobs/${encodeURIComponent(id)}/cancel`, new URLSearchParams({ csrf }));
}
