"""Face embedding: vectors that lie close together for images of one person.

The network is dlib's `dlib_face_recognition_resnet_model_v1` by Davis E. King, in the public domain
(https://github.com/davisking/dlib-models): a ResNet with 29 convolutions. `export/face_embedding.py`
converted it to `face_embedding.onnx.gz`, with weights of 8 bits; OpenCV runs it. By its author's rule two
photos whose embeddings lie less than 0.6 apart show one person.
"""

from __future__ import annotations

import functools
import gzip
import threading
from importlib import resources
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from deepfake_triton.preprocessing.crops import CropRule, crop_face

VIEW = CropRule(150, margin=-0.023)
"""Crop of a face as in the network's training: eyes 0.35 of the side apart, 0.31 of it below the upper
edge."""
_OFFSET_DOWN = 0.07
"""Offset of a view's center below that of a CenterFace box, as a fraction of the box's longer side."""
VIEWS = 3
"""Number of frames of a face whose embeddings are averaged."""
NO_VIEWS = np.zeros((0, VIEW.side, VIEW.side, 3), np.uint8)

Embedding = npt.NDArray[np.float32]
_NETWORK_LOCK = threading.Lock()
"""OpenCV's network holds its input, and so runs for one thread at a time."""


def cut_views(
    frames: npt.NDArray[np.uint8], boxes: npt.NDArray[np.float32], seen: npt.NDArray[np.int64]
) -> npt.NDArray[np.uint8]:
    """Cut the views of a face for its embedding, [N, 150, 150, 3] uint8 RGB, N at most VIEWS.

    `frames` are [T, H, W, 3] uint8 RGB, `boxes` [T, 4]; `seen`, the indices of frames that show the face, are
    sampled evenly.
    """
    some = np.unique(np.linspace(0, len(seen) - 1, min(VIEWS, len(seen))).round().astype(int))
    return np.stack([crop_face(frames[index], _lowered(boxes[index]), VIEW) for index in seen[some]])


def embed_face(views: npt.NDArray[np.uint8]) -> Embedding:
    """Return the embedding of a face, float32 [128]: the mean over its `views` [N, 150, 150, 3] uint8 RGB."""
    planes = np.ascontiguousarray(views.transpose(0, 3, 1, 2), np.float32)
    with _NETWORK_LOCK:
        network = _network()
        network.setInput(planes)
        embeddings = network.forward()
    return np.asarray(embeddings.mean(axis=0), np.float32)


def _lowered(box: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    down = _OFFSET_DOWN * max(box[2] - box[0], box[3] - box[1])
    return np.asarray(box + np.array([0, down, 0, down], np.float32), np.float32)


@functools.cache
def _network() -> Any:
    """Read the network; its type has no annotations in OpenCV before 4.9."""
    file = resources.files("deepfake_triton.client.verdicts") / "face_embedding.onnx.gz"
    return cv2.dnn.readNetFromONNX(np.frombuffer(gzip.decompress(file.read_bytes()), np.uint8))
