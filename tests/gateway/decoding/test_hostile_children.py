"""A child that a file has taken over: whatever it sends, the gateway gets a typed error and kills it."""

from __future__ import annotations

import json
import mmap
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from decoder_uploads import upload_from

from deepfake_triton.errors import DecoderFailed, DeepfakeError, VideoUndecodable
from deepfake_triton.gateway.decoding import decoded_video
from deepfake_triton.gateway.decoding.decoded_video import DecodedVideo, DecodingJob
from deepfake_triton.gateway.decoding.decoder_process import DecoderProcess
from deepfake_triton.gateway.decoding.frame_memory import MAX_WINDOW_BYTES
from deepfake_triton.gateway.decoding.messages import receive_message, send_message
from deepfake_triton.gateway.decoding.sandbox import ChildLimits
from deepfake_triton.gateway.settings import Limits
from deepfake_triton.preprocessing.video.sampling import FrameSelection

pytestmark = pytest.mark.fast

Behavior = Callable[[socket.socket, int], None]
WINDOW = {"shape": [1, 4, 4, 3], "pts_seconds": [0.0], "end_seconds": 0.1, "num_expected": 1}


class HostileZygote:
    """Starts processes that only sleep, while a thread of this one speaks for them."""

    def __init__(self, behavior: Behavior) -> None:
        self._behavior = behavior
        self.sleeper = subprocess.Popen(["sleep", "60"])

    def spawn(self, job: dict[str, Any], limits: ChildLimits, files: Sequence[int]) -> DecoderProcess:
        ours, self._channel = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        our_status, self._status = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        pidfd = os.pidfd_open(self.sleeper.pid)
        send_message(self._status, {"pid": self.sleeper.pid}, [pidfd])
        os.close(pidfd)
        threading.Thread(target=self._speak, daemon=True).start()
        return DecoderProcess(job["name"], limits, channel=ours, status=our_status, on_silence=lambda: None)

    def _speak(self) -> None:
        _, (memory,) = receive_message(self._channel)
        try:
            self._behavior(self._channel, memory)
        finally:
            os.close(memory)

    def close(self) -> None:
        self.sleeper.kill()
        self.sleeper.wait()
        self._channel.close()
        self._status.close()


@pytest.fixture
def video_of(clip_path: Path) -> Iterator[Callable[[Behavior], tuple[DecodedVideo, HostileZygote]]]:
    started: list[HostileZygote] = []

    def make(behavior: Behavior) -> tuple[DecodedVideo, HostileZygote]:
        zygote = HostileZygote(behavior)
        started.append(zygote)
        job = DecodingJob(upload_from(clip_path), FrameSelection(), 0.3, Limits())
        return DecodedVideo(zygote, job), zygote  # type: ignore[arg-type]

    yield make
    for zygote in started:
        zygote.close()


def tell(message: object) -> Behavior:
    def behave(channel: socket.socket, memory: int) -> None:
        channel.send(message if isinstance(message, bytes) else json.dumps(message).encode())

    return behave


def keep_writing(channel: socket.socket, memory: int) -> None:
    pages = mmap.mmap(memory, MAX_WINDOW_BYTES)  # and it stays writable
    channel.send(json.dumps(WINDOW).encode())
    time.sleep(5)
    pages.close()


def keep_answering(channel: socket.socket, memory: int) -> None:
    for _ in range(2):  # windows, where one was asked for
        channel.send(json.dumps(WINDOW).encode())


def send_descriptors(channel: socket.socket, memory: int) -> None:
    send_message(channel, {"shape": 1}, [memory] * 4)


NONSENSE: dict[str, Behavior] = {
    "bytes": tell(os.urandom(500)),
    "list": tell([1, 2]),
    "deep": tell(b"[" * 60_000),
    "long": tell(b'{"a": "' + b"x" * 70_000 + b'"}'),
    "no keys": tell({}),
    "shape": tell({**WINDOW, "shape": [1, 4, 4]}),
    "negative": tell({**WINDOW, "shape": [1, -4, 4, 3]}),
    "huge": tell({**WINDOW, "shape": [1, 60_000, 60_000, 3]}),
    "times": tell({**WINDOW, "pts_seconds": [0.0, 0.1]}),
    "text": tell({**WINDOW, "pts_seconds": ["0"]}),
    "nan": tell({**WINDOW, "pts_seconds": [float("nan")]}),
    "falling": tell({**WINDOW, "shape": [2, 4, 4, 3], "pts_seconds": [1.0, 0.5]}),
    "end": tell({**WINDOW, "end_seconds": float("inf")}),
    "duration": tell({"duration_seconds": float("nan"), "fault": None, "num_expected": 1}),
    "fault": tell({"duration_seconds": 1.0, "fault": ["x"], "num_expected": 1}),
    "count": tell({"duration_seconds": 1.0, "fault": None, "num_expected": True}),
    "error": tell({"error": "VideoUndecodable"}),
    "class": tell({"error": {"type": "SystemExit", "message": "x"}}),
    "base": tell({"error": {"type": "GatewayBusy", "message": "x"}}),
    "module": tell({"error": {"type": "__loader__", "message": "x"}}),
    "long text": tell({"error": {"type": "NotAVideo", "message": "x" * 9000}}),
    "bug": tell(b'{"bug": ["KeyError", "x\\nforged line"]}'),
    "long bug": tell(b'{"bug": ["KeyError"' + b', "a.py:1"' * 40 + b"]}"),
    "no bug": tell(b'{"bug": 1}'),
    "too many": keep_answering,
    "too long": tell({**WINDOW, "shape": [21, 1, 1, 3], "pts_seconds": [*range(21)], "end_seconds": 21}),
    "writable": keep_writing,
    "descriptors": send_descriptors,
}


@pytest.mark.parametrize("behavior", NONSENSE.values(), ids=NONSENSE)
def test_nonsense_is_an_error_of_its_request(video_of: Any, behavior: Behavior, clip_path: Path) -> None:
    video, zygote = video_of(behavior)
    with pytest.raises(DecoderFailed, match=rf"^{clip_path.name}: its decoder "):
        list(video)
    assert zygote.sleeper.wait(5) == -9, "the child was killed"


def test_an_honest_window_is_taken(video_of: Any) -> None:
    def behave(channel: socket.socket, memory: int) -> None:
        os.pwrite(memory, bytes(range(48)), 0)
        channel.send(json.dumps(WINDOW).encode())
        receive_message(channel)
        with pytest.raises(OSError, match="not permitted"):  # sealed by now
            os.pwrite(memory, b"x", 0)
        channel.send(json.dumps({"duration_seconds": 2.0, "fault": "x", "num_expected": 1}).encode())
        channel.send(json.dumps({"credentials": {"state": "none"}}).encode())

    video, _ = video_of(behave)
    (window,) = video
    assert window.data.reshape(-1).tolist() == list(range(48)) and not window.data.flags.writeable
    assert (video.duration_seconds, video.fault) == (2.0, "x")
    assert video.content_credentials.state.value == "none"


def test_errors_of_the_file_keep_their_type(video_of: Any) -> None:
    video, _ = video_of(tell({"error": {"type": "VideoUndecodable", "message": "a.mp4: why"}}))
    with pytest.raises(VideoUndecodable, match=r"^a\.mp4: why$"):
        list(video)


def test_silence_ends_with_the_time(video_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoded_video, "_GRACE_S", 0.1)
    video, zygote = video_of(lambda *_: time.sleep(10))
    began = time.monotonic()
    with pytest.raises(DecoderFailed, match="takes too long"):
        list(video)
    assert time.monotonic() - began < 9
    assert zygote.sleeper.wait(5) == -9


def test_stop_wakes_who_waits_at_once(video_of: Any) -> None:
    video, zygote = video_of(lambda *_: time.sleep(2))
    failures: list[DeepfakeError] = []

    def read() -> None:
        try:
            list(video)
        except DeepfakeError as error:
            failures.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    time.sleep(0.1)
    began = time.monotonic()
    video.stop()
    assert time.monotonic() - began < 1
    thread.join(1)
    assert not thread.is_alive() and "was stopped" in str(failures[0])
    assert zygote.sleeper.wait(5) == -9
