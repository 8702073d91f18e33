"""The contract between all parts: models, tensors, shapes and limits, defined once.

The same word names a tensor in the ONNX graph, in ``config.pbtxt``, in the client and in the docs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

MAX_FRAMES = 64
"""T: frames of one clip, 1…64."""
MAX_FACES = 8
"""F: faces tracked through one clip, 1…8."""
CANDIDATES = 32
"""K: candidate detections that a detector reports for each frame."""
FEATURE_SIZE = 2048
MAX_FRAME_SIDE = 640
"""Long side, in pixels, to which the client scales the frames that it sends."""
TYPICAL_FRAME_HW = (360, 640)
"""Height and width of a 16:9 video's frame, so scaled: for warm-up and measurements."""
MAX_SERVED_FRAME_SIDE = 4096
"""Maximum frame side that a server accepts; other clients may send larger frames."""
MAX_CLIP_PIXELS = 2**26
"""T·H·W of one clip: 32 frames of 1920 × 1080 pass."""
MAX_BOX_PX = 4 * MAX_SERVED_FRAME_SIDE
"""Maximum coordinate of a detection; a detector clips its boxes to the frame."""
MAX_CROP_PIXELS = 2 * MAX_CLIP_PIXELS
"""Maximum sum of the squares around the faces of one clip: more than faces that fill its frames have."""
MAX_STORED_PIXELS = 2**27
"""Maximum width × height of a stored frame (16,384 × 8,192); larger ones are rejected undecoded."""
JPEG_QUALITY = 95
"""Default quality of frames sent as JPEG over slow networks, with 4:4:4 chroma."""
MAX_JPEG_SCANS = 16
"""Maximum scans of one JPEG file; progressive files have about 10, and each costs a pass over the image."""
MAX_JPEG_SEGMENTS = 4096
"""Maximum marker segments of one JPEG file; color profile and metadata take a few hundred."""
JPEG_BYTES_PER_PIXEL, JPEG_HEADER_BYTES = 6, 2**20
"""Maximum size of a JPEG file: bytes per pixel (noise at quality 100 has 4.1), plus its headers."""
MAX_JPEG_CLIP_BYTES = JPEG_BYTES_PER_PIXEL * MAX_CLIP_PIXELS + MAX_FRAMES * JPEG_HEADER_BYTES
MAX_FILE_BYTES = 64 * 2**30
MAX_VIDEO_SECONDS = 24 * 3600.0
"""Maximum duration that a file may claim; longer ones are rejected unread."""
DEFAULT_FRAMES = 20
DEFAULT_CROP_SIDE = 112
"""S: side of a face crop in pixels; the published checkpoint's."""

DEFAULT_DETECTOR_SIZE = 320
"""Long side, in pixels, at which the detector finds faces from 5 % of the frame width up; 640 finds them from
2.5 % up, for three times the work."""

DETECTION_FIELDS = 15
"""x1 y1 x2 y2 score, then five landmarks x y: pixels of the input frame."""
MIN_CANDIDATE_SCORE = 0.05
"""Candidates that score less are rows of zeros."""

REAL, FAKE = 0, 1
"""Index of each class in ``logits``, whatever the checkpoint's own order."""
DEFAULT_OPERATING_POINT = 0.5

SHARED_MEMORY_KEY = "deepfake-triton-shared-memory"
"""Name of the gRPC header with the key to shared memory, on a server that other hosts can reach."""
COMPUTE_RESOURCE = "compute"
"""Rate-limiter resource that the networks take while they compute, one at a time."""
OPENVINO_PRECISION = "openvino_inference_precision"
"""Parameter of a model's config with the precision in which OpenVINO computes it, where that is not FP32;
NVIDIA's C++ backend ignores it."""
BuilderName = Literal["tensorrt", "tensorrt-rtx"]
"""Library that builds engines for NVIDIA GPUs; an engine loads in the one that built it."""

SHARED_MEMORY_KEY_VARIABLE = "DEEPFAKE_TRITON_SHARED_MEMORY_KEY"
"""Environment variable from which `serve` and `detect` read the key."""

TRITON_DTYPES: dict[np.dtype[Any], str] = {
    np.dtype(np.uint8): "UINT8",
    np.dtype(np.float32): "FP32",
    np.dtype(np.int32): "INT32",
    np.dtype(np.bool_): "BOOL",
    np.dtype(np.object_): "BYTES",
}


@dataclass(frozen=True)
class TensorSpec:
    """A named tensor: `shape` has None where the size is free, and leaves out a model's batch dimension."""

    name: str
    shape: tuple[int | None, ...]
    dtype: np.dtype[Any]

    @property
    def triton_dtype(self) -> str:
        """Triton's name of the dtype, such as ``UINT8``."""
        return TRITON_DTYPES[self.dtype]

    @property
    def triton_dims(self) -> list[int]:
        """The shape in Triton's notation: -1 where the size is free."""
        return [-1 if size is None else size for size in self.shape]

    def stacked(self) -> TensorSpec:
        """Return the tensor of a model without batch dimension: with one free dimension in front."""
        return replace(self, shape=(None, *self.shape))


@dataclass(frozen=True)
class ModelSpec:
    """A served model; `max_batch_size` 0 means that its tensors have no batch dimension."""

    name: str
    backend: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    max_batch_size: int


_U8, _F32, _BOOL = np.dtype(np.uint8), np.dtype(np.float32), np.dtype(np.bool_)
_I32 = np.dtype(np.int32)

FRAMES = TensorSpec("frames", (None, None, 3), _U8)
SAMPLED_FRAMES = TensorSpec("sampled_frames", (None, None, 3), _U8)
"""The frames that the detector gets, where it gets some only."""
ENCODED_FRAMES = TensorSpec("encoded_frames", (None,), np.dtype(np.object_))
"""Each frame as a JPEG file."""
DETECTIONS = TensorSpec("detections", (CANDIDATES, DETECTION_FIELDS), _F32)
BOXES = TensorSpec("boxes", (None, 4), _F32)
OBSERVED = TensorSpec("observed", (None,), _BOOL)
FEATURES = TensorSpec("features", (None, FEATURE_SIZE), _F32)
LOGITS = TensorSpec("logits", (2,), _F32)
FAKE_PROBABILITY = TensorSpec("fake_probability", (1,), _F32)
"""NaN in the ensemble's rows without an observed face."""
CLASSIFIER_PROBABILITY = TensorSpec("classifier_probability", (1,), _F32)
"""The classifier's `fake_probability` inside the ensemble: a number in each row, also in a blank one."""
FACES_LEFT_OUT = TensorSpec("faces_left_out", (1,), _I32)
"""Number of faces of a clip without a row: beyond MAX_FACES, or observed in too few frames."""


def faces_spec(crop_side: int) -> TensorSpec:
    """Return the tensor of the RGB crops of one track, [T, S, S, 3], S = `crop_side` px."""
    return TensorSpec("faces", (None, crop_side, crop_side, 3), _U8)


def face_detector(backend: str = "onnxruntime") -> ModelSpec:
    """Return the spec of the step from frames to candidate faces; its batch dimension is frames."""
    return ModelSpec("face_detector", backend, (FRAMES,), (DETECTIONS,), max_batch_size=MAX_FRAMES)


def face_tracker(crop_side: int = DEFAULT_CROP_SIDE) -> ModelSpec:
    """Return the spec of the step from frames and candidates of one clip to tracks of face crops."""
    outputs = (faces_spec(crop_side).stacked(), BOXES.stacked(), OBSERVED.stacked(), FACES_LEFT_OUT)
    return ModelSpec("face_tracker", "python", (FRAMES.stacked(), DETECTIONS.stacked()), outputs, 0)


def feature_extractor(crop_side: int = DEFAULT_CROP_SIDE, backend: str = "onnxruntime") -> ModelSpec:
    """Return the spec of the step from face crops to features; its batch dimension is tracks."""
    return ModelSpec("feature_extractor", backend, (faces_spec(crop_side),), (FEATURES,), 4 * MAX_FACES)


def sequence_classifier(backend: str = "onnxruntime") -> ModelSpec:
    """Return the spec of the step from features over time to a probability; its batch dimension is tracks."""
    return ModelSpec("sequence_classifier", backend, (FEATURES,), (LOGITS, FAKE_PROBABILITY), 4 * MAX_FACES)


def probability_mask() -> ModelSpec:
    """Return the spec of the last step, which sets probabilities of rows without an observed face to NaN."""
    inputs = (CLASSIFIER_PROBABILITY.stacked(), OBSERVED.stacked())
    return ModelSpec("probability_mask", "python", inputs, (FAKE_PROBABILITY.stacked(),), 0)


def frame_decoder() -> ModelSpec:
    """Return the spec of the step from the JPEG files of one clip to its frames."""
    return ModelSpec("frame_decoder", "python", (ENCODED_FRAMES,), (FRAMES.stacked(),), 0)


def frame_sampler() -> ModelSpec:
    """Return the spec of the step that passes every Nth frame of one clip on to the detector, in exports with
    `--detection-interval`."""
    return ModelSpec("frame_sampler", "onnxruntime", (FRAMES.stacked(),), (SAMPLED_FRAMES.stacked(),), 0)


def deepfake_detector() -> ModelSpec:
    """Return the spec of the ensemble from the frames of one clip to a probability per face."""
    outputs = (FAKE_PROBABILITY.stacked(), BOXES.stacked(), OBSERVED.stacked(), FACES_LEFT_OUT)
    return ModelSpec("deepfake_detector", "ensemble", (FRAMES.stacked(),), outputs, 0)


def deepfake_detector_jpeg() -> ModelSpec:
    """Return the spec of the same ensemble for frames sent as JPEG files."""
    plain = deepfake_detector()
    return replace(plain, name="deepfake_detector_jpeg", inputs=(ENCODED_FRAMES,))


def served_models(
    crop_side: int = DEFAULT_CROP_SIDE, backend: str = "onnxruntime", *, samples_frames: bool = False
) -> tuple[ModelSpec, ...]:
    """Return all models of a repository in the order of data flow, the ensembles last; `backend` runs the
    networks. `samples_frames`: also the step that only exports with a detection interval have."""
    return (
        frame_decoder(),
        *((frame_sampler(),) if samples_frames else ()),
        face_detector(backend),
        face_tracker(crop_side),
        feature_extractor(crop_side, backend),
        sequence_classifier(backend),
        probability_mask(),
        deepfake_detector_jpeg(),
        deepfake_detector(),
    )
