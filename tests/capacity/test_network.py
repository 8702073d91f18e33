from __future__ import annotations

import numpy as np
import pytest

from deepfake_triton.capacity.network import ClipShape
from deepfake_triton.contracts import MAX_FACES

pytestmark = pytest.mark.fast


def test_raw_frames_take_a_byte_for_each_channel() -> None:
    clip = ClipShape(20, 360, 640)
    assert clip.request_bytes == np.zeros((20, 360, 640, 3), np.uint8).nbytes == 13_824_000


@pytest.mark.parametrize("frames", [1, 20, 64])
def test_an_answer_has_the_tensors_of_the_contract(frames: int) -> None:
    answer = (
        np.zeros((MAX_FACES, 1), np.float32),
        np.zeros((MAX_FACES, frames, 4), np.float32),
        np.zeros((MAX_FACES, frames), np.bool_),
        np.zeros(1, np.int32),
    )
    clip = ClipShape(frames, 360, 640, jpeg_frame_bytes=60_000)
    assert clip.response_bytes == sum(tensor.nbytes for tensor in answer)
    assert clip.total_bytes == 60_000 * frames + clip.response_bytes
