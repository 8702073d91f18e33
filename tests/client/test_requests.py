from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient.utils import deserialize_bytes_tensor

from deepfake_triton.client.requests import answer_arrays, infer_request, model_info
from deepfake_triton.client.shared_memory import Region
from deepfake_triton.errors import ContractMismatch, InferenceFailed, InvalidFrames
from deepfake_triton.preprocessing.video import FrameBatch

METADATA: dict[str, Any] = {
    "inputs": [{"name": "frames", "datatype": "UINT8", "shape": ["-1", "-1", "-1", "3"]}],
    "outputs": [
        {"name": "fake_probability", "datatype": "FP32", "shape": ["-1", "1"]},
        {"name": "boxes", "datatype": "FP32", "shape": ["-1", "-1", "4"]},
        {"name": "observed", "datatype": "BOOL", "shape": ["-1", "-1"]},
    ],
}
CONFIG = {
    "parameters": {
        "weights": {"string_value": "default"},
        "export_version": {"string_value": "3"},
        "export_sha256": {"string_value": "cd" * 32},
        "operating_points": {"string_value": '{"default": 0.7, "conservative": 0.9}'},
    }
}


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
    assert {output.name for output in request.outputs} == {"fake_probability", "boxes", "observed"}
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


def test_the_model_says_what_it_is() -> None:
    info = model_info(METADATA, CONFIG)
    assert (info.version, info.weights, info.sha256, info.operating_point) == ("3", "default", "cd" * 32, 0.7)


def test_the_operating_point_is_the_server_s_chosen_by_name() -> None:
    assert model_info(METADATA, CONFIG, "conservative").operating_point == 0.9
    points = {"string_value": '{"balanced": 0.5, "conservative": 0.8}'}
    trained = {"parameters": {**CONFIG["parameters"], "operating_points": points}}
    assert model_info(METADATA, trained).operating_point == 0.5
    with pytest.raises(ContractMismatch, match="'lenient': the server's model has balanced, conservative"):
        model_info(METADATA, trained, "lenient")


@pytest.mark.parametrize(
    ("metadata", "config", "says"),
    [
        ({"inputs": [], "outputs": METADATA["outputs"]}, CONFIG, "input frames: the server has nothing"),
        (
            {**METADATA, "inputs": [{"name": "frames", "datatype": "FP32", "shape": ["-1", "3"]}]},
            CONFIG,
            r"the server has FP32 \[-1, 3\], this client expects UINT8",
        ),
        ({**METADATA, "outputs": METADATA["outputs"][:2]}, CONFIG, "output observed"),
        (METADATA, {"parameters": {}}, "weights, export_version, export_sha256"),
        *(
            (
                METADATA,
                {"parameters": {**CONFIG["parameters"], "operating_points": {"string_value": text}}},
                text,
            )
            for text in ("no json", "7", '{"default": "x"}')
        ),
    ],
)
def test_another_contract_is_refused(metadata: dict[str, Any], config: dict[str, Any], says: str) -> None:
    with pytest.raises(ContractMismatch, match=says):
        model_info(metadata, config)


@pytest.mark.parametrize(
    "broken",
    [
        answer(1, 4, observed=np.zeros((0, 0), bool)),
        Answer(fake_probability=np.zeros((1, 1), np.float32)),
        answer(1, 3),
        answer(2, 4, fake_probability=np.zeros((1, 1), np.float32)),
        answer(2, 4, boxes=np.zeros((2, 4, 3), np.float32)),
        answer(1, 4, fake_probability=np.full((1, 1), np.nan, np.float32)),
        answer(2, 1, observed=np.zeros((2, 1), bool)),
    ],
)
def test_an_answer_that_does_not_fit_never_reads_as_no_face(broken: Answer) -> None:
    with pytest.raises(InferenceFailed):
        answer_arrays(broken, 4)


def test_answers_that_fit() -> None:
    assert answer_arrays(answer(2, 4), 4)[0].shape == (2, 1)
    blank = answer(1, 1, observed=np.zeros((1, 1), bool))
    assert not answer_arrays(blank, 4)[2].any()


@pytest.mark.parametrize("shape", [(65, 8, 8, 3), (1, 4097, 8, 3), (1, 8, 4097, 3)])
def test_more_than_a_server_takes_is_refused_before_it_is_sent(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidFrames, match="expected 1…64 of at most 4096 px a side"):
        FrameBatch(np.zeros(shape, np.uint8), np.arange(float(shape[0])), 99.0)
