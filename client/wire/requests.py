"""Requests to the ensemble and its answers as plain objects: no connection, no waiting."""

from __future__ import annotations

import struct
import uuid
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from tritonclient.grpc import InferResult
from tritonclient.grpc import service_pb2 as pb

from deepfake_triton.client.wire.shared_memory import Region
from deepfake_triton.contracts import (
    BOXES,
    FACES_LEFT_OUT,
    FAKE_PROBABILITY,
    OBSERVED,
    deepfake_detector,
    deepfake_detector_jpeg,
)
from deepfake_triton.errors import InferenceFailed
from deepfake_triton.preprocessing.jpeg import encode_frames
from deepfake_triton.preprocessing.video.frame_batch import FrameBatch

ENSEMBLE = deepfake_detector()
JPEG_ENSEMBLE = deepfake_detector_jpeg()
ADDED_LATER = (FACES_LEFT_OUT,)
"""Outputs that older exports lack."""


@dataclass(frozen=True)
class ClipAnswer:
    """Answer of the ensemble on a clip of T frames, with a row for each of F faces.

    Attributes:
        fake_probability: Probability of FAKE, [F, 1] in 0…1; meaningless or NaN where nothing was observed.
        boxes: Boxes, [F, T, 4]: x1 y1 x2 y2 in px of the frames sent.
        observed: Frames that show the face, [F, T].
        faces_left_out: Number of faces that were left out.
        version: Version of the ensemble that answered.
    """

    fake_probability: npt.NDArray[np.float32]
    boxes: npt.NDArray[np.float32]
    observed: npt.NDArray[np.bool_]
    faces_left_out: int
    version: str


def infer_request(
    frames: FrameBatch, timeout_s: float, *, region: Region | None = None, jpeg_quality: int | None = None
) -> pb.ModelInferRequest:
    """Build the request for the faces of a clip: its frames in the message, copied to `region`, or with
    `jpeg_quality` as JPEG files for the ensemble that takes those.

    `timeout_s` is how long it may wait in Triton's queues. No outputs are named: the reply then has all
    outputs of the server's ensemble, which with an older export are fewer.
    """
    ensemble = ENSEMBLE if jpeg_quality is None else JPEG_ENSEMBLE
    request = pb.ModelInferRequest(model_name=ensemble.name, id=uuid.uuid4().hex)
    request.parameters["timeout"].int64_param = max(1, int(1e6 * timeout_s))
    (spec,) = ensemble.inputs
    tensor = request.inputs.add(name=spec.name, datatype=spec.triton_dtype, shape=frames.data.shape)
    if jpeg_quality is not None:
        files = encode_frames(frames.data, jpeg_quality)
        tensor.shape[:] = [len(files)]
        request.raw_input_contents.append(b"".join(struct.pack("<I", len(file)) + file for file in files))
    elif region is not None:
        region.fill(frames.data)
        tensor.parameters["shared_memory_region"].string_param = region.name
        tensor.parameters["shared_memory_byte_size"].int64_param = frames.data.nbytes
    else:
        request.raw_input_contents.append(frames.data.tobytes())
    return request


def answer_from_reply(reply: pb.ModelInferResponse, num_frames: int) -> ClipAnswer:
    """Read the answer on a clip of `num_frames` from a reply. Raises InferenceFailed."""
    result = InferResult(reply)
    fake_probability, boxes, observed = answer_arrays(result, num_frames)
    return ClipAnswer(
        fake_probability=fake_probability,
        boxes=boxes,
        observed=observed,
        faces_left_out=faces_left_out_in(result),
        version=str(reply.model_version),
    )


def answer_arrays(
    result: InferResult, num_frames: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Return `fake_probability` [F, 1], `boxes` [F, T, 4], `observed` [F, T] of an answer on T =
    `num_frames`.

    A row in which nothing was observed has NaN, or from an older export a meaningless number. Raises
    InferenceFailed on an answer of another shape: an empty one must not read as "no face".
    """
    probability, boxes, observed = (
        result.as_numpy(tensor.name) for tensor in (FAKE_PROBABILITY, BOXES, OBSERVED)
    )
    if probability is None or boxes is None or observed is None or observed.ndim != 2 or not len(observed):
        raise InferenceFailed("the answer lacks an output, or one is empty; expected a row for each face")
    faces, times = observed.shape
    blank = not observed.any() and (faces, times) == (1, 1)
    fits = probability.shape == (faces, 1) and boxes.shape == (faces, times, 4)
    if not fits or not (blank or times == num_frames):
        raise InferenceFailed(
            f"the answer does not fit {num_frames} frames: fake_probability {list(probability.shape)}, "
            f"boxes {list(boxes.shape)}, observed {list(observed.shape)}"
        )
    seen = observed.any(axis=1)
    if not np.isfinite(probability[seen]).all():
        raise InferenceFailed(
            "fake_probability of faces that were observed: got "
            f"{probability[seen].ravel().tolist()}, expected numbers in 0…1"
        )
    return probability, boxes, observed


def faces_left_out_in(result: InferResult) -> int:
    """Return `faces_left_out` of an answer; 0 from an older export, which lacks it. Raises
    InferenceFailed."""
    count = result.as_numpy(FACES_LEFT_OUT.name)
    if count is None:
        return 0
    if count.shape != (1,) or count[0] < 0:
        raise InferenceFailed(f"{FACES_LEFT_OUT.name}: got {count.tolist()}, expected one count from 0 up")
    return int(count[0])
