"""Decoders that the tests of this folder share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from decoder_uploads import started_pool

from deepfake_triton.gateway.decoding.pool import DecoderPool


@pytest.fixture(scope="session")
def pool() -> Iterator[DecoderPool]:
    """Decoders with the default limits."""
    with started_pool() as started:
        yield started


@pytest.fixture(scope="session")
def heavy_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Motion JPEG of 40 pictures of 4000x4000: small, and slow to decode."""
    done, picture = cv2.imencode(".jpg", np.full((4000, 4000, 3), 90, np.uint8))
    assert done
    path = tmp_path_factory.mktemp("heavy") / "heavy.mjpeg"
    path.write_bytes(picture.tobytes() * 40)
    return path
