"""The small copy of an upload for the page's player, made by a child process."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
import time
from pathlib import Path
from typing import BinaryIO

from deepfake_triton.errors import DeepfakeError
from deepfake_triton.gateway.decoding.decoded_video import reopened
from deepfake_triton.gateway.decoding.decoder_process import DecoderProcess
from deepfake_triton.gateway.decoding.messages import MalformedMessage, object_from
from deepfake_triton.gateway.decoding.sandbox import ChildLimits
from deepfake_triton.gateway.decoding.zygote_process import ZygoteProcess
from deepfake_triton.gateway.settings import Limits
from deepfake_triton.gateway.uploads.spool import Upload

_MAX_SECONDS = 60.0
"""Longest preview; the rest of the video is not in it."""
_MAX_BYTES = 64 * 2**20
_TIMEOUT_S = 120.0


class PreviewJob:
    """One preview: `run` it in one thread, `stop` it from any other."""

    def __init__(self, zygote: ZygoteProcess, upload: Upload, limits: Limits, *, folder: Path | None) -> None:
        self._zygote, self._upload, self._limits, self._folder = zygote, upload, limits, folder
        self._process: DecoderProcess | None = None
        self._is_stopped = False
        self._lock = threading.Lock()

    def run(self) -> BinaryIO | None:
        """Make the preview, and return it in a file without a name; None if none can be made."""
        with contextlib.suppress(DeepfakeError, MalformedMessage, OSError), contextlib.ExitStack() as stack:
            output = stack.enter_context(tempfile.TemporaryFile(dir=self._folder))
            if self._is_made(output):
                stack.pop_all()
                return output
        return None

    def stop(self) -> None:
        """End the process at once. May be repeated."""
        with self._lock:
            self._is_stopped = True
            if self._process is not None:
                self._process.kill()

    def _is_made(self, output: BinaryIO) -> bool:
        process = self._start(output)
        try:
            process.await_start()
            answer = object_from(process.receive(time.monotonic() + _TIMEOUT_S))
        finally:
            process.close()
        return answer.get("made") is True

    def _start(self, output: BinaryIO) -> DecoderProcess:
        job = {"kind": "preview", "name": self._upload.name, "max_seconds": _MAX_SECONDS}
        cpu_s = min(self._limits.decoder_cpu_s, int(_TIMEOUT_S))
        child = ChildLimits(self._limits.decoder_memory_bytes, cpu_s, _MAX_BYTES)
        file = reopened(self._upload)
        try:
            process = self._zygote.spawn(job, child, (file, output.fileno()))
        finally:
            os.close(file)
        with self._lock:
            self._process = process
            if self._is_stopped:
                process.kill()
        return process
