"""`DecoderPool`: decodes uploads in child processes that a hostile file cannot escape."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

from deepfake_triton.client.provenance import require_trust_anchors
from deepfake_triton.gateway.decoding.decoded_video import DecodedVideo, DecodingJob
from deepfake_triton.gateway.decoding.preview_job import PreviewJob
from deepfake_triton.gateway.decoding.zygote_process import ZygoteProcess
from deepfake_triton.gateway.settings import Limits
from deepfake_triton.gateway.uploads.spool import Upload
from deepfake_triton.preprocessing.video.sampling import FrameSelection

_PREVIEWS_AT_ONCE = 2
"""More wait: verdicts have the first claim on the processor."""


class DecoderPool:
    """Decodes uploads in child processes, one for each upload. Usable from many threads."""

    def __init__(self, limits: Limits, *, c2pa_trust: Path | None = None, folder: Path | None = None) -> None:
        """`c2pa_trust` is PEM of authorities whose Content Credentials are trusted; previews are kept in
        files without a name in `folder` (None: the system's for temporary files)."""
        self._limits, self._trust, self._folder = limits, c2pa_trust, folder
        self._zygote = ZygoteProcess(c2pa_trust)
        self._previews = ThreadPoolExecutor(_PREVIEWS_AT_ONCE, "deepfake-previews")

    async def start(self) -> None:
        """Start what children are made from. Raises InvalidOption for an unusable file of authorities, and
        MissingDependency where nothing can read Content Credentials."""
        if self._trust is not None:
            require_trust_anchors(self._trust)
        await asyncio.to_thread(self._zygote.start)

    async def close(self) -> None:
        """End all children. May be repeated."""
        self._previews.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(self._zygote.close)

    def open_video(self, upload: Upload, selection: FrameSelection, timeout_s: float) -> DecodedVideo:
        """Return the selected windows of an upload, for `detect`; nothing is decoded before they are read."""
        return DecodedVideo(self._zygote, DecodingJob(upload, selection, timeout_s, self._limits))

    async def make_preview(self, upload: Upload) -> BinaryIO | None:
        """Return a small copy that every browser plays, in a file without a name; None if none can be made.

        An MP4 of H.264 without sound, at most 480 px high, of the first minute. Its time 0 is that of the
        verdict's times. A canceled task ends its process.
        """
        job = PreviewJob(self._zygote, upload, self._limits, folder=self._folder)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._previews, job.run)
        finally:
            job.stop()
