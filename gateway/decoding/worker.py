"""What a child does with one upload: decode windows and read Content Credentials, or write a preview."""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import pkgutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import av

from deepfake_triton import preprocessing
from deepfake_triton.client import provenance
from deepfake_triton.errors import DecoderFailed, DeepfakeError, VideoTooLarge
from deepfake_triton.gateway.decoding.messages import (
    message_from_error,
    receive_message,
    send_message,
)
from deepfake_triton.gateway.decoding.preview import write_preview
from deepfake_triton.gateway.decoding.sandbox import FILE, OUTPUT, MemoryGauge
from deepfake_triton.json_object import JsonObject
from deepfake_triton.preprocessing.media.media_file import open_media
from deepfake_triton.preprocessing.video.frame_batch import FrameBatch
from deepfake_triton.preprocessing.video.sampling import FrameSelection, Sampling
from deepfake_triton.preprocessing.video.windows import VideoWindows

_NO_MEMORY = (os.strerror(errno.ENOMEM), os.strerror(errno.EAGAIN))
"""What FFmpeg says where memory, or room for a thread's stack, is used up."""
_MAX_FAULT = 4096
_ON_DEMAND = ("c2pa", "cv2", "encodings.idna", "encodings.utf_16", "encodings.utf_32", "encodings.cp1252")


class Worker:
    """The work of all children, and what it needs from the disk: read before, since a child opens nothing."""

    def __init__(self, c2pa_trust: Path | None) -> None:
        """Raises InvalidOption for a file that holds no certificate."""
        self._trust_anchors = provenance.read_trust_anchors(c2pa_trust) if c2pa_trust else None
        _load_all()

    def run(self, job: JsonObject, channel: socket.socket, gauge: MemoryGauge) -> None:
        """Do one job, tell what came out, and end the process."""
        file: Any = os.fdopen(FILE, "rb")
        file.raw.name = job["name"]
        task = _Task(job, file, channel, gauge)
        try:
            if job["kind"] == "windows":
                task.decode_windows()
                credentials = provenance.read_credentials(file, self._trust_anchors)
                send_message(channel, {"credentials": credentials and credentials.as_dict()})
            else:
                with os.fdopen(OUTPUT, "r+b", closefd=False) as output:
                    made = write_preview(file, output, max_seconds=job["max_seconds"])
                send_message(channel, {"made": made})
        except MemoryError:
            send_message(channel, message_from_error(task.used_up_memory()))
        except DeepfakeError as error:
            told = task.used_up_memory() if task.lacked_memory(str(error)) else error
            send_message(channel, message_from_error(told))
        os._exit(0)


@dataclass(frozen=True)
class _Task:
    """What a child does: the job, the upload, the connection to the gateway, and the memory that it used."""

    job: JsonObject
    file: BinaryIO
    channel: socket.socket
    gauge: MemoryGauge

    def decode_windows(self) -> None:
        """Answer each request with the next window, written to the memory that comes with it."""
        asked = self.job["selection"]
        selection = FrameSelection(**{**asked, "sampling": Sampling(asked["sampling"])})
        source = VideoWindows(self.file, selection, timeout_s=self.job["timeout_s"])
        windows = self._checked_windows(source)
        while True:
            data, descriptors = receive_message(self.channel)
            if not data:  # the gateway has gone
                os._exit(0)
            (memory,) = descriptors
            window = next(windows, None)
            if window is None:
                break
            _write(memory, window)
            ready = {
                "shape": window.data.shape,
                "pts_seconds": window.pts_seconds.tolist(),
                "end_seconds": float(window.end_seconds),
                "num_expected": source.num_expected,
            }
            send_message(self.channel, ready)
        end = {
            "duration_seconds": source.duration_seconds,
            "fault": source.fault and source.fault[:_MAX_FAULT],
            "num_expected": source.num_expected,
        }
        send_message(self.channel, end)

    def lacked_memory(self, text: str) -> bool:
        """Whether a text of FFmpeg says that there was no memory, and this was so."""
        return self.gauge.is_used_up and any(reason in text for reason in _NO_MEMORY)

    def used_up_memory(self) -> DecoderFailed:
        """Return the error for a file that takes too much memory."""
        return DecoderFailed(
            f"{self.job['name']}: decoding it takes more than the {self.job['memory_bytes'] >> 20} MiB of "
            "memory that it may use; convert it to H.264 of a smaller size"
        )

    def _checked_windows(self, source: VideoWindows) -> Iterator[FrameBatch]:
        """Yield the windows of a video that is short enough. Raises what VideoWindows raises, VideoTooLarge,
        and DecoderFailed where memory ran out, even if FFmpeg went on without the frames that it cost."""
        with open_media(self.file) as media, media.reader() as reader:
            claimed = reader.claimed_extent
        self._require_duration(claimed.end_seconds if claimed else 0.0)
        for window in source:
            self._require_duration(window.end_seconds)
            yield window
        self._require_duration(source.duration_seconds)
        if self.lacked_memory(source.fault or ""):
            raise self.used_up_memory()

    def _require_duration(self, seconds: float) -> None:
        most_seconds = float(self.job["max_duration_seconds"])
        if seconds > most_seconds:
            raise VideoTooLarge(
                f"{self.job['name']}: a video of {seconds:.0f} s, at most {most_seconds:.0f} s are accepted "
                "here; cut out the part in question"
            )


def _load_all() -> None:
    """Import what is otherwise imported on demand: PyAV imports the type of a stream when it meets one."""
    found = [
        module.name
        for package in (av, preprocessing)
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    ]
    for module in (*found, *_ON_DEMAND):
        if module.endswith("__main__"):
            continue
        with contextlib.suppress(ImportError):
            importlib.import_module(module)


def _write(memory: int, window: FrameBatch) -> None:
    data = window.data.data.cast("B")
    written = 0
    while written < len(data):
        written += os.pwrite(memory, data[written:], written)
    os.close(memory)
