"""The mesh of the demo's portrait, whose five landmarks another network knows."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from support import backdrop

from deepfake_triton.arrays import Image
from deepfake_triton.models.face_mesh.finder import find_mesh, landmarks_of_mesh, load_face_mesh
from deepfake_triton.models.face_mesh.topology import CHIN, EARS, EYES, FOREHEAD, NOSE_TIP, OUTLINE
from deepfake_triton.models.runtimes.base import Runner
from deepfake_triton.preprocessing.video.frame_batch import FrameBatch
from deepfake_triton.training.faces.portraits import detect_faces

pytestmark = pytest.mark.compute


@pytest.fixture(scope="module")
def network() -> Runner:
    return load_face_mesh()


@pytest.fixture(scope="module")
def face(clip_frames: FrameBatch, detector: Runner) -> tuple[Image, np.ndarray, np.ndarray]:
    """A frame, the face's box and landmarks."""
    frame = clip_frames.data[0]
    best = detect_faces(frame, detector)[0]
    return frame, best[:4].astype(float), best[5:].reshape(5, 2).astype(float)


def test_the_mesh_lies_on_the_landmarks_and_fills_the_box(
    face: tuple[Image, np.ndarray, np.ndarray], network: Runner
) -> None:
    frame, box, landmarks = face
    mesh = find_mesh(frame, landmarks, network)
    assert mesh is not None and mesh.shape == (468, 3)
    height = box[3] - box[1]
    away = np.hypot(*(landmarks_of_mesh(mesh, landmarks) - landmarks).T)
    assert away.max() < 0.06 * height
    low, high = mesh[:, :2].min(axis=0), mesh[:, :2].max(axis=0)
    inter = np.prod(np.minimum(high, box[2:]) - np.maximum(low, box[:2]))
    assert inter > 0.6 * max(np.prod(high - low), np.prod(box[2:] - box[:2]))


def test_the_nose_is_nearest_and_the_ears_are_farthest(
    face: tuple[Image, np.ndarray, np.ndarray], network: Runner
) -> None:
    mesh = find_mesh(face[0], face[2], network)
    assert mesh is not None
    width = float(np.ptp(mesh[:, 0]))
    assert mesh[NOSE_TIP, 2] < mesh[list(OUTLINE), 2].min()
    assert 0.4 * width < mesh[list(EARS), 2].mean() - mesh[NOSE_TIP, 2] < 1.1 * width
    assert mesh[FOREHEAD, 1] < mesh[list(EYES[0].upper), 1].min() < mesh[NOSE_TIP, 1] < mesh[CHIN, 1]


def test_a_tilted_and_enlarged_face_has_the_same_mesh(
    face: tuple[Image, np.ndarray, np.ndarray], network: Runner
) -> None:
    frame, box, landmarks = face
    mesh = find_mesh(frame, landmarks, network)
    center = (float(box[[0, 2]].mean()), float(box[[1, 3]].mean()))
    matrix = cv2.getRotationMatrix2D(center, 25, 1.5)
    tilted = cv2.warpAffine(frame, matrix, frame.shape[1::-1])
    found = find_mesh(np.asarray(tilted, np.uint8), landmarks @ matrix[:, :2].T + matrix[:, 2], network)
    assert mesh is not None and found is not None
    expected = mesh[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    height = 1.5 * float(box[3] - box[1])
    assert np.hypot(*(found[:, :2] - expected).T).mean() < 0.015 * height
    assert np.abs(found[:, 2] - 1.5 * mesh[:, 2]).mean() < 0.03 * height


def test_no_mesh_without_a_face_or_where_the_landmarks_disagree(
    face: tuple[Image, np.ndarray, np.ndarray], network: Runner
) -> None:
    frame, _, landmarks = face
    assert find_mesh(frame, landmarks, network) is not None
    assert find_mesh(backdrop(*frame.shape[:2]), landmarks, network) is None
    upside_down = landmarks[[4, 3, 2, 1, 0]]
    assert find_mesh(frame, upside_down, network) is None
    assert find_mesh(frame, np.repeat(landmarks[:1], 5, axis=0), network) is None
