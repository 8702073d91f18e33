"""What every part agrees on: models, tensors, shapes and limits. Written here once.

The same word names a tensor in the ONNX graph, in ``config.pbtxt``, in the client and in the docs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

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
MAX_SERVED_FRAME_SIDE = 4096
"""What a server takes of other clients, which may send larger frames."""
MAX_CLIP_PIXELS = 2**26
"""T·H·W of one clip: 32 frames of 1920 × 1080 pass."""
MAX_BOX_PX = 4 * MAX_SERVED_FRAME_SIDE
"""Detections are clipped to their frame; coordinates beyond this are no detector's."""
MAX_CROP_PIXELS = 2 * MAX_CLIP_PIXELS
"""Sum of the squares around the faces of one clip: more than faces from edge to edge of its frames have."""
MAX_STORED_PIXELS = 2**27
"""Width times height of a frame as it stands in a file (16,384 × 8,192); more is refused undecoded."""
JPEG_QUALITY = 95
"""With 4:4:4 chroma: what a client sends over a slow network unless told otherwise."""
MAX_JPEG_SCANS = 16
"""Progressive files have about 10; each costs a pass over the picture."""
MAX_JPEG_SEGMENTS = 4096
"""Marker segments of one JPEG file; a color profile and metadata take some hundreds at most."""
JPEG_BYTES_PER_PIXEL, JPEG_HEADER_BYTES = 6, 2**20
"""A JPEG file may have so many for each of its pixels (noise at quality 100 has 4.1), and so many more."""
MAX_JPEG_CLIP_BYTES = JPEG_BYTES_PER_PIXEL * MAX_CLIP_PIXELS + MAX_FRAMES * JPEG_HEADER_BYTES
MAX_FILE_BYTES = 64 * 2**30
MAX_VIDEO_SECONDS = 24 * 3600.0
"""What a file may claim; more is refused unread."""
DEFAULT_FRAMES = 20
DEFAULT_CROP_SIDE = 112
"""S: side of a face crop in pixels; the published checkpoint's."""

DEFAULT_DETECTOR_SIZE = 320
"""Finds faces from 5 % of the frame width up; 640 finds them from 2.5 % up, for three times the work."""

DETECTION_FIELDS = 15
"""x1 y1 x2 y2 score, then five landmarks x y: pixels of the input frame."""
MIN_CANDIDATE_SCORE = 0.05
"""Candidates that score less are rows of zeros."""

REAL, FAKE = 0, 1
"""Index of each class in ``logits``, whatever the checkpoint's own order."""
DEFAULT_OPERATING_POINT = 0.5

SHARED_MEMORY_KEY = "deepfake-triton-shared-memory"
"""Name of the header whose value opens shared memory on a server that other hosts reach."""
SHARED_MEMORY_KEY_VARIABLE = "DEEPFAKE_TRITON_SHARED_MEMORY_KEY"
"""Where `serve` and `detect` find it."""

TRITON_DTYPES: dict[np.dtype[Any], str] = {
    np.dtype(np.uint8): "UINT8",
    np.dtype(np.float32): "FP32",
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
        """Triton's word for the dtype, such as ``UINT8``."""
        return TRITON_DTYPES[self.dtype]

    @property
    def triton_dims(self) -> list[int]:
        """The shape in Triton's notation: -1 where the size is free."""
        return [-1 if size is None else size for size in self.shape]

    def stacked(self) -> TensorSpec:
        """The same tensor as a model without batch dimension sees it: one free dimension in front."""
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

FRAMES = TensorSpec("frames", (None, None, 3), _U8)
ENCODED_FRAMES = TensorSpec("encoded_frames", (None,), np.dtype(np.object_))
"""Each frame as a JPEG file."""
DETECTIONS = TensorSpec("detections", (CANDIDATES, DETECTION_FIELDS), _F32)
BOXES = TensorSpec("boxes", (None, 4), _F32)
OBSERVED = TensorSpec("observed", (None,), _BOOL)
FEATURES = TensorSpec("features", (None, FEATURE_SIZE), _F32)
LOGITS = TensorSpec("logits", (2,), _F32)
FAKE_PROBABILITY = TensorSpec("fake_probability", (1,), _F32)


def faces_spec(crop_side: int) -> TensorSpec:
    """The RGB crops of one track, [T, S, S, 3], for crops of `crop_side` pixels."""
    return TensorSpec("faces", (None, crop_side, crop_side, 3), _U8)


def face_detector(backend: str = "onnxruntime") -> ModelSpec:
    """Frames to candidate faces; its batch dimension is frames."""
    return ModelSpec("face_detector", backend, (FRAMES,), (DETECTIONS,), max_batch_size=MAX_FRAMES)


def face_tracker(crop_side: int = DEFAULT_CROP_SIDE) -> ModelSpec:
    """Frames and candidates of one clip to tracks of face crops."""
    outputs = (faces_spec(crop_side).stacked(), BOXES.stacked(), OBSERVED.stacked())
    return ModelSpec("face_tracker", "python", (FRAMES.stacked(), DETECTIONS.stacked()), outputs, 0)


def feature_extractor(crop_side: int = DEFAULT_CROP_SIDE, backend: str = "onnxruntime") -> ModelSpec:
    """Face crops to features; its batch dimension is tracks."""
    return ModelSpec("feature_extractor", backend, (faces_spec(crop_side),), (FEATURES,), 4 * MAX_FACES)


def sequence_classifier(backend: str = "onnxruntime") -> ModelSpec:
    """Features over time to a verdict; its batch dimension is tracks."""
    return ModelSpec("sequence_classifier", backend, (FEATURES,), (LOGITS, FAKE_PROBABILITY), 4 * MAX_FACES)


def frame_decoder() -> ModelSpec:
    """The JPEG files of one clip to its frames."""
    return ModelSpec("frame_decoder", "python", (ENCODED_FRAMES,), (FRAMES.stacked(),), 0)


def deepfake_detector() -> ModelSpec:
    """The ensemble: the frames of one clip to a probability for each face."""
    outputs = (FAKE_PROBABILITY.stacked(), BOXES.stacked(), OBSERVED.stacked())
    return ModelSpec("deepfake_detector", "ensemble", (FRAMES.stacked(),), outputs, 0)


def deepfake_detector_jpeg() -> ModelSpec:
    """The same for frames that come as JPEG files."""
    plain = deepfake_detector()
    return replace(plain, name="deepfake_detector_jpeg", inputs=(ENCODED_FRAMES,))


def served_models(crop_side: int = DEFAULT_CROP_SIDE, backend: str = "onnxruntime") -> tuple[ModelSpec, ...]:
    """All models of a repository, in the order data flows; the ensembles come last. `backend` runs graphs."""
    return (
        frame_decoder(),
        face_detector(backend),
        face_tracker(crop_side),
        feature_extractor(crop_side, backend),
        sequence_classifier(backend),
        deepfake_detector_jpeg(),
        deepfake_detector(),
    )
