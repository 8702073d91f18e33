from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tritonclient.utils import deserialize_bytes_tensor

from deepfake_triton.client.wire.requests import answer_arrays, faces_left_out_in, infer_request
from deepfake_triton.client.wire.shared_memory import Region
from deepfake_triton.errors import InferenceFailed, InvalidFrames
from deepfake_triton.preprocessing.video.frame_batch import FrameBatch

pytestmark = pytest.mark.fast


class Answer:
    """What `answer_arrays` needs of an InferResult: arrays by name."""

    def __init__(self, **arrays: np.ndarray) -> None:
        self.arrays = arrays

    def as_numpy(self, name: str) -> np.ndarray | None:
        return self.arrays.get(name)


def answer(faces: int, times: int, **changes: np.ndarray) -> Answer:
    arrays = {
        "fake_probability": np.full((faces, 1), 0.5, np.float32),
        "boxes": np.zeros((faces, times, 4), np.float32),
        "observed": np.ones((faces, times), bool),
    }
    return Answer(**{**arrays, **changes})


def test_a_request_holds_the_frames_as_they_are() -> None:
    data = np.arange(2 * 3 * 4 * 3, dtype=np.uint8).reshape(2, 3, 4, 3)
    request = infer_request(FrameBatch(data, np.arange(2.0), 2.0), 1.5)
    (tensor,) = request.inputs
    assert (tensor.name, tensor.datatype, list(tensor.shape)) == ("frames", "UINT8", [2, 3, 4, 3])
    assert not request.outputs, "a server gives all that it has, and an older one has fewer"
    assert request.parameters["timeout"].int64_param == 1_500_000 and len(request.id) == 32
    assert list(request.raw_input_contents) == [data.tobytes()]


def test_a_request_may_hold_a_region_or_jpegs_instead() -> None:
    frames = FrameBatch(np.full((2, 30, 40, 3), 9, np.uint8), np.arange(2.0), 2.0)
    region = Region(frames.data.nbytes)
    try:
        (tensor,) = infer_request(frames, 1, region=region).inputs
        content = Path(f"/dev/shm{region.key}").read_bytes()
    finally:
        region.unlink()
    assert tensor.parameters["shared_memory_region"].string_param == region.name
    assert tensor.parameters["shared_memory_byte_size"].int64_param == frames.data.nbytes
    assert content[: frames.data.nbytes] == frames.data.tobytes()
    assert region.name not in region.key, "what everyone sees in /dev/shm is not what opens the region"
    request = infer_request(frames, 1, jpeg_quality=90)
    assert request.model_name == "deepfake_detector_jpeg"
    files = list(deserialize_bytes_tensor(request.raw_input_contents[0]))
    assert list(request.inputs[0].shape) == [2] and all(file[:2] == b"\xff\xd8" for file in files)


@pytest.mark.parametrize(
    "broken",
    [
        answer(1, 4, observed=np.zeros((0, 0), bool)),
        Answer(fake_probability=np.zeros((1, 1), np.float32)),
        answer(1, 3),
        answer(2, 4, fake_probability=np.zeros((1, 1), np.float32)),
        answer(2, 4, boxes=np.zeros((2, 4, 3), np.float32)),
        answer(1, 4, fake_probability=np.full((1, 1), np.nan, np.float32)),
        answer(2, 4, fake_probability=np.array([[0.5], [np.nan]], np.float32)),
        answer(2, 1, observed=np.zeros((2, 1), bool)),
    ],
)
def test_an_answer_that_does_not_fit_never_reads_as_no_face(broken: Answer) -> None:
    with pytest.raises(InferenceFailed):
        answer_arrays(broken, 4)


@pytest.mark.parametrize("in_the_blank_row", [np.nan, 0.5], ids=["now", "an older export"])
def test_answers_that_fit(in_the_blank_row: float) -> None:
    assert answer_arrays(answer(2, 4), 4)[0].shape == (2, 1)
    number = np.full((1, 1), in_the_blank_row, np.float32)
    blank = answer(1, 1, observed=np.zeros((1, 1), bool), fake_probability=number)
    assert not answer_arrays(blank, 4)[2].any()


def test_faces_left_out_are_counted_by_servers_that_do() -> None:
    assert faces_left_out_in(answer(1, 4)) == 0, "an older export does not say"
    assert faces_left_out_in(answer(1, 4, faces_left_out=np.array([4], np.int32))) == 4
    for broken in (np.array([-1], np.int32), np.array([], np.int32), np.zeros((1, 1), np.int32)):
        with pytest.raises(InferenceFailed, match="faces_left_out"):
            faces_left_out_in(answer(1, 4, faces_left_out=broken))


@pytest.mark.parametrize("shape", [(65, 8, 8, 3), (1, 4097, 8, 3), (1, 8, 4097, 3)])
def test_more_than_a_server_takes_is_refused_before_it_is_sent(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidFrames, match="expected 1…64 of at most 4096 px a side"):
        FrameBatch(np.zeros(shape, np.uint8), np.arange(float(shape[0])), 99.0)
