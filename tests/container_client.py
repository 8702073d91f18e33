"""A client outside a server's container: asks for a verdict, then has calls in flight while the server ends.

Prints one JSON object a line: the verdict; how many calls the server has accepted; what became of each.
"""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from serve_command import pending_requests

from deepfake_triton.client import DeepfakeClient, RetryPolicy
from deepfake_triton.preprocessing.video.clip import decode_clip

CALLS = 6
ACCEPT_TIMEOUT_S = 60.0


def main(grpc: str, metrics: str, clip: str) -> None:
    """Ask the server at those addresses for a verdict on the clip, then for its faces, CALLS at once."""
    frames = decode_clip(Path(clip)).frames
    once = RetryPolicy(attempts=1)  # no waiting for a server that ends
    with DeepfakeClient(grpc, timeout_s=120, retry=once) as client, ThreadPoolExecutor(CALLS) as pool:
        verdict = client.detect(clip)
        _say({"verdict": verdict.verdict, "fake_probability": verdict.fake_probability})
        deadline = time.monotonic() + ACCEPT_TIMEOUT_S
        calls: list[Future[object]] = []
        # Its only instance computes one call, so that all the others have arrived.
        while (waiting := pending_requests(metrics, "face_detector")) < CALLS - 1:
            if time.monotonic() > deadline:
                raise TimeoutError(f"only {waiting} of {CALLS} calls wait")
            if all(call.done() for call in calls):  # they were answered too quickly to be seen waiting
                calls = [pool.submit(client.faces, frames) for _ in range(CALLS)]
            time.sleep(0.005)
        _say({"accepted": CALLS, "answered": sum(call.done() for call in calls)})
        _say({"outcomes": [_outcome(call.exception()) for call in calls]})


def _outcome(error: BaseException | None) -> str:
    return "answered" if error is None else f"{type(error).__name__}: {error}"


def _say(entry: dict[str, object]) -> None:
    print(json.dumps(entry), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
