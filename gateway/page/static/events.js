// Follows jobs: by a stream of events, or by asking now and then while many streams are open.

const LAST = ["verdict", "failed", "canceled"];
const MOST_FAILURES = 5;
const MOST_STREAMS = 2; // of the six connections that a browser opens to one host, for all its pages together
const POLL_MS = 1500;
const BUSY = [408, 425, 429]; // of the statuses 4xx, those that pass
const LAST_OF_STATE = { done: "verdict", failed: "failed", canceled: "canceled" };
let streams = 0;

/**
 * Call `onEvent(name, data)` for what happens to a job, up to the last event; `lost` when the gateway cannot
 * be reached, or, with the `error` and the `detail` of its answer, when it tells nothing more about the job.
 * Return a function that stops.
 */
export function followJob(id, onEvent) {
  const following = { isOver: false, failures: 0, end: () => {} };
  const tell = (name, data) => {
    if (following.isOver) return;
    if (LAST.includes(name) || name === "lost") stop();
    onEvent(name, data);
  };
  const stop = () => {
    following.isOver = true;
    following.end();
  };
  follow(id, following, tell);
  return stop;
}

function follow(id, following, tell) {
  if (streams < MOST_STREAMS) stream(id, following, tell);
  else poll(id, following, tell);
}

function stream(id, following, tell) {
  const source = new EventSource(`/v1/jobs/${encodeURIComponent(id)}/events`);
  streams += 1;
  following.end = () => {
    source.close();
    streams -= 1;
    following.end = () => {};
  };
  for (const name of ["queued", "decoded", "window", ...LAST]) {
    source.addEventListener(name, (event) => {
      following.failures = 0;
      tell(name, JSON.parse(event.data));
    });
  }
  source.addEventListener("error", () => {
    following.failures += 1;
    if (source.readyState !== EventSource.CLOSED && following.failures < MOST_FAILURES) return;
    following.end(); // browsers end streams for reasons of their own, such as that the page is left
    following.failures = 0;
    setTimeout(() => following.isOver || poll(id, following, tell), POLL_MS);
  });
}

async function poll(id, following, tell) {
  try {
    const answer = await fetch(`/v1/jobs/${encodeURIComponent(id)}`);
    if (answer.status >= 400 && answer.status < 500 && !BUSY.includes(answer.status)) {
      const { error, detail } = await answer.json().catch(() => ({}));
      tell("lost", { error, detail });
      return;
    }
    if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
    tellState(await answer.json(), tell);
    following.failures = 0;
  } catch {
    following.failures += 1;
    if (following.failures >= MOST_FAILURES) tell("lost", {});
  }
  if (!following.isOver) setTimeout(() => following.isOver || follow(id, following, tell), POLL_MS);
}

function tellState({ state, position, progress }, tell) {
  if (state in LAST_OF_STATE) tell(LAST_OF_STATE[state], {});
  else if (state === "queued" && position) tell("queued", { position });
  else if (progress.windows_judged > 0) tell("window", { ...progress, fake_probability: null });
  else if (progress.num_windows) tell("decoded", progress);
}
