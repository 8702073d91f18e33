"""Callers of a cluster on a host of their own: each asks for one verdict after the other, with the client as
it comes, and says what became of each request, a JSON object a line."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from paths import ROOT

if TYPE_CHECKING:
    from cluster_pods import Cluster


@dataclass(frozen=True)
class Outcome:
    """What became of one request.

    Attributes:
        began_s: When it was sent, on the clock of this machine.
        took_s: Time until it came back.
        version: The model's, as the verdict names it.
        probability: That of FAKE.
        error: Why there is no verdict; empty where there is one.
    """

    began_s: float
    took_s: float
    version: str = ""
    probability: float = 0.0
    error: str = ""


@dataclass
class Load:
    """A process with callers, and what they said so far."""

    process: subprocess.Popen[str]
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def failed(self) -> list[Outcome]:
        """Requests without a verdict."""
        return [each for each in self.outcomes if each.error]

    def read(self) -> None:
        """Take down what the process says, until it ends."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.outcomes.append(Outcome(**json.loads(line)))

    def wait_for(self, number: int, timeout_s: float = 300) -> None:
        """Until so many further requests came back."""
        wanted, deadline = len(self.outcomes) + number, time.monotonic() + timeout_s
        while len(self.outcomes) < wanted:
            assert self.process.poll() is None and time.monotonic() < deadline, self.outcomes[-3:]
            time.sleep(0.05)

    @property
    def figures(self) -> str:
        """How many there were, and how long they took, for those who run a test with `-s`."""
        took_s = sorted(each.took_s for each in self.outcomes)
        began_s = [each.began_s for each in self.outcomes]
        return (
            f"{len(took_s)} requests in {max(began_s) - min(began_s):.0f} s, "
            f"median {took_s[len(took_s) // 2]:.2f} s, longest {took_s[-1]:.2f} s"
        )

    def stop(self) -> None:
        """Let no further request begin, and wait for those on their way."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.wait(120) == 0


@contextmanager
def steady_load(
    cluster: Cluster, url: str, *, callers: int = 3, pause_s: float = 1, blank: bool = False
) -> Iterator[Load]:
    """Callers of `url`, stopped at the end; `blank` frames are answered much faster than those of a clip."""
    host = cluster.network.host()
    resolver = cluster.names.resolver_file(cluster.folder / f"{host.address}.resolv.conf", cluster.namespace)
    mounted = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
    process = subprocess.Popen(
        [
            *host.entering(),
            *("unshare", "--mount", "sh", "-c", mounted, str(resolver)),
            *(sys.executable, str(Path(__file__)), url, str(callers), str(pause_s), str(int(blank))),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": f"{ROOT}/tests"},
    )
    load = Load(process)
    reader = threading.Thread(target=load.read)
    reader.start()
    try:
        yield load
        if process.poll() is None:
            load.stop()
    finally:
        process.kill()
        process.wait(30)
        reader.join()


def main(url: str, callers: str, pause_s: str, blank: str) -> None:
    """Ask until standard input ends."""
    import numpy as np

    from deepfake_triton.client import DeepfakeClient, FrameBatch
    from deepfake_triton.errors import DeepfakeError
    from deepfake_triton.export.demo_video import demo_clip
    from deepfake_triton.preprocessing.video.clip import decode_clip

    if int(blank):
        frames = FrameBatch(np.zeros((4, 90, 160, 3), np.uint8), np.arange(4.0), 4.0)
    else:
        path = demo_clip()
        assert path is not None
        clip = decode_clip(path).frames
        frames = FrameBatch(clip.data[:6], clip.pts_seconds[:6], 1.0)
    is_enough, lock = threading.Event(), threading.Lock()

    def ask(client: DeepfakeClient) -> Outcome:
        began_s = time.time()
        try:
            if int(blank):
                assert client.faces(frames) == ()
                return Outcome(began_s, time.time() - began_s)
            verdict = client.detect(frames)
            (face,) = verdict.faces
            return Outcome(began_s, time.time() - began_s, verdict.model.version, face.fake_probability)
        except DeepfakeError as error:
            return Outcome(began_s, time.time() - began_s, error=f"{type(error).__name__}: {error}")

    def ask_on(client: DeepfakeClient) -> None:
        while not is_enough.is_set():
            outcome = ask(client)
            with lock, contextlib.suppress(BrokenPipeError):
                print(json.dumps(vars(outcome)), flush=True)
            is_enough.wait(float(pause_s))

    with DeepfakeClient(url) as client:
        threads = [threading.Thread(target=ask_on, args=(client,)) for _ in range(int(callers))]
        for thread in threads:
            thread.start()
        sys.stdin.read()
        is_enough.set()
        for thread in threads:
            thread.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
