"""An upload as windows of frames that a child process decodes."""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np

from deepfake_triton.client.verdicts.content_credentials import ContentCredentials
from deepfake_triton.errors import DecoderFailed, GatewayBusy, InvalidFrames
from deepfake_triton.gateway.decoding.decoder_process import DecoderProcess, out_of_decoders
from deepfake_triton.gateway.decoding.frame_memory import MAX_WINDOW_BYTES, FrameMemory
from deepfake_triton.gateway.decoding.messages import (
    MalformedMessage,
    VideoEnded,
    WindowReady,
    answer_from,
    object_from,
)
from deepfake_triton.gateway.decoding.sandbox import ChildLimits
from deepfake_triton.gateway.decoding.zygote_process import ZygoteProcess
from deepfake_triton.gateway.settings import Limits
from deepfake_triton.gateway.uploads.spool import Upload
from deepfake_triton.json_object import JsonObject
from deepfake_triton.preprocessing.video.frame_batch import FrameBatch
from deepfake_triton.preprocessing.video.sampling import FrameSelection

_GRACE_S = 5.0
"""Beyond its time-out a child that still decodes is killed; it raises DeadlineExceeded itself before."""
_CREDENTIALS_TIMEOUT_S = 30.0
"""Hashing a signed file of 4 GB takes about half of it."""


@dataclass(frozen=True)
class DecodingJob:
    """What is decoded, and within which limits."""

    upload: Upload
    selection: FrameSelection
    timeout_s: float
    limits: Limits


class DecodedVideo:
    """Windows of an upload, for `AsyncDeepfakeClient.detect`: a WindowSource, and a context manager that ends
    the child.

    The child starts with the first window. Iterate once, in any thread; `stop` may be called by any other.
    Iterating raises what VideoWindows raises on the same file, DecoderFailed for a child that crashed or used
    up its memory or time, VideoTooLarge for a video that is too long, and GatewayBusy where the gateway lacks
    what a child needs.
    """

    def __init__(self, zygote: ZygoteProcess, job: DecodingJob) -> None:
        self.name = job.upload.name
        self.num_expected = 1
        self.duration_seconds = 0.0
        self.fault: str | None = None
        self.content_credentials: ContentCredentials | None = None
        self._zygote, self._job = zygote, job
        self._process: DecoderProcess | None = None
        self._is_stopped = False
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[FrameBatch]:
        """Decode the windows in the order of the video."""
        deadline = time.monotonic() + self._job.timeout_s + _GRACE_S
        try:
            decoder = self._start()
            decoder.await_start()
            yield from self._windows(decoder, deadline)
            self.content_credentials = _receive_credentials(decoder)
        except OSError as error:
            raise out_of_decoders(error.strerror) from error
        finally:
            self.close()

    def stop(self) -> None:
        """End the child at once, and wake who waits for a window. Does not wait. May be repeated."""
        with self._lock:
            self._is_stopped = True
            if self._process is not None:
                self._process.kill()

    def close(self) -> None:
        """End the child, and release what it took here. May be repeated."""
        self.stop()
        if self._process is not None:
            self._process.close()

    def __enter__(self) -> DecodedVideo:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _start(self) -> DecoderProcess:
        limits = self._job.limits
        child = ChildLimits(limits.decoder_memory_bytes, limits.decoder_cpu_s, MAX_WINDOW_BYTES)
        file = reopened(self._job.upload)
        try:
            process = self._zygote.spawn(self._message(), child, (file,))
        finally:
            os.close(file)
        with self._lock:
            self._process = process
            if self._is_stopped:
                process.kill()
        return process

    def _message(self) -> JsonObject:
        selection = self._job.selection
        return {
            "kind": "windows",
            "name": self.name,
            "selection": {**asdict(selection), "sampling": selection.sampling.value},
            "timeout_s": self._job.timeout_s,
            "max_duration_seconds": self._job.limits.max_duration_seconds,
        }

    @property
    def _most_windows(self) -> int:
        """Most windows that the selection can have."""
        selection = self._job.selection
        if selection.every_seconds is not None:
            return math.ceil(self._job.limits.max_duration_seconds / selection.every_seconds) + 1
        return selection.windows or 1

    def _windows(self, decoder: DecoderProcess, deadline: float) -> Iterator[FrameBatch]:
        memory = _request_window(decoder)
        try:
            for number in itertools.count():
                try:
                    answer = answer_from(decoder.receive(deadline))
                except MalformedMessage as error:
                    raise decoder.nonsense() from error
                self.num_expected = answer.num_expected
                if isinstance(answer, VideoEnded):
                    self.duration_seconds, self.fault = answer.duration_seconds, answer.fault
                    return
                if number == self._most_windows or answer.shape[0] > self._job.selection.num_frames:
                    raise decoder.nonsense()
                window = _sealed_window(decoder, memory, answer)
                memory.close()
                memory = _request_window(decoder)
                yield window
                del window
        finally:
            memory.close()


def reopened(upload: Upload) -> int:
    """Return a descriptor of an upload for reading, with a position of its own.

    Raises OSError, and DecoderFailed for an upload that was closed meanwhile.
    """
    try:
        number = upload.file.fileno()
    except ValueError as error:
        raise DecoderFailed(f"{upload.name}: decoding it was stopped") from error
    return os.open(f"/proc/self/fd/{number}", os.O_RDONLY | os.O_CLOEXEC)


def _request_window(decoder: DecoderProcess) -> FrameMemory:
    memory = FrameMemory()
    decoder.send({"next": True}, (memory.descriptor,))
    return memory


def _sealed_window(decoder: DecoderProcess, memory: FrameMemory, answer: WindowReady) -> FrameBatch:
    try:
        return FrameBatch(memory.frames(answer.shape), np.array(answer.pts_seconds), answer.end_seconds)
    except (ValueError, InvalidFrames) as error:
        raise decoder.nonsense() from error


def _receive_credentials(decoder: DecoderProcess) -> ContentCredentials | None:
    """Return the Content Credentials that the child reads after the last window; None where the parser
    crashed or took too long, the gateway lost it, or the extra `provenance` is missing."""
    with contextlib.suppress(DecoderFailed, GatewayBusy, MalformedMessage, ValueError, KeyError, TypeError):
        told = object_from(decoder.receive(time.monotonic() + _CREDENTIALS_TIMEOUT_S))["credentials"]
        return None if told is None else ContentCredentials.from_json(told)
    return None
