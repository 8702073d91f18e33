"""Find the mesh of a face whose five landmarks are known.

Kartynnik et al., *Real-time Facial Surface Geometry from Monocular Video on Mobile GPUs*, 2019. The face is
turned upright and scaled as in MediaPipe: a square 1.5 times as large as the mesh, found in two passes.
"""

from __future__ import annotations

from importlib import resources

import cv2
import numpy as np
import numpy.typing as npt

from deepfake_triton.arrays import Image, Points
from deepfake_triton.models.face_mesh.topology import EYES, MOUTH_CORNERS, NOSE_TIP, NUM_POINTS, Mesh
from deepfake_triton.models.runtimes.base import Runner
from deepfake_triton.models.runtimes.onnx_runner import OnnxRunner

INPUT_PX = 192
_CROP_SCALE = 1.5
_FIRST_SIDE = 3.9
"""Side of the first pass's square, in distances from the eyes to the mouth."""
_ALIASING_SCALE = 0.5
"""A picture that is made smaller than this is averaged first."""
LOWEST_SCORE = 0.5
LARGEST_DISAGREEMENT = 0.12
"""Mean distance between the mesh and the detector's landmarks, as a fraction of the mesh's height."""


def load_face_mesh() -> Runner:
    """Load the graph from `picture` float32 [N, 192, 192, 3] RGB in 0…1 to `points` and `score`."""
    with resources.as_file(resources.files("deepfake_triton.models.face_mesh") / "face_mesh.onnx") as graph:
        return OnnxRunner(graph)


def find_mesh(image: Image, landmarks: Points, network: Runner) -> Mesh | None:
    """Return the mesh [468, 3] of the face with `landmarks` [5, 2] px in `image` [H, W, 3] uint8 RGB.

    x and y are px of `image`; z has the same unit and is smaller toward the camera. None when the network
    sees no face there, or its points are not where the landmarks are.
    """
    eyes, mouth = landmarks[:2].mean(axis=0), landmarks[3:].mean(axis=0)
    side = _FIRST_SIDE * float(np.hypot(*(mouth - eyes)))
    across = landmarks[1] - landmarks[0] + landmarks[4] - landmarks[3]
    center = eyes + 0.45 * (mouth - eyes)
    mesh = None
    for _ in range(2):
        if side < 1 or not np.isfinite(side):
            return None
        mesh, score = _run(image, _upright(center, across, side), network)
        if score < LOWEST_SCORE:
            return None
        center, across, side = _following_square(mesh)
    assert mesh is not None
    height = side / _CROP_SCALE
    disagreement = np.hypot(*(landmarks_of_mesh(mesh, landmarks) - landmarks).T).mean()
    return mesh if disagreement < LARGEST_DISAGREEMENT * height else None


def landmarks_of_mesh(mesh: Mesh, order: Points) -> Points:
    """Return the mesh's eyes, nose tip and mouth corners [5, 2] px, left and right as in `order` [5, 2]."""
    eyes = [mesh[list(eye.upper + eye.lower[1:-1]), :2].mean(axis=0) for eye in EYES]
    corners = mesh[list(MOUTH_CORNERS), :2]
    points = np.array([*eyes, mesh[NOSE_TIP, :2], *corners])
    flipped = points[[1, 0, 2, 4, 3]]
    return points if np.abs(points - order).sum() <= np.abs(flipped - order).sum() else flipped


def _run(image: Image, matrix: npt.NDArray[np.float64], network: Runner) -> tuple[Mesh, float]:
    """Return the mesh in px of `image`, and its score, for the affine transform [2, 3] to the input."""
    scale = float(np.hypot(*matrix[0, :2]))
    source, to_input = image, matrix.copy()
    if scale < _ALIASING_SCALE:
        ratio = 2 * scale
        source = np.asarray(
            cv2.resize(image, None, fx=ratio, fy=ratio, interpolation=cv2.INTER_AREA), np.uint8
        )
        to_input[:, :2] /= np.array(source.shape[1::-1]) / np.array(image.shape[1::-1])
    picture = cv2.warpAffine(source, to_input, (INPUT_PX, INPUT_PX), flags=cv2.INTER_LINEAR)
    found = network.infer({"picture": (picture.astype(np.float32) / 255)[None]})
    points = found["points"][0].astype(np.float64)
    inverse = cv2.invertAffineTransform(matrix)
    placed = points[:, :2] @ inverse[:, :2].T + inverse[:, 2]
    return np.column_stack([placed, points[:, 2] / scale]).reshape(NUM_POINTS, 3), float(found["score"][0])


def _upright(center: Points, across: Points, side: float) -> npt.NDArray[np.float64]:
    """Return the transform [2, 3] of a square around `center` with `across` to the right to the input."""
    unit = across / max(float(np.hypot(*across)), 1e-9) * INPUT_PX / side
    linear = np.array([[unit[0], unit[1]], [-unit[1], unit[0]]])
    return np.column_stack([linear, INPUT_PX / 2 - linear @ center])


def _following_square(mesh: Mesh) -> tuple[Points, Points, float]:
    """Return center, direction and side in px of the square around a mesh: MediaPipe's for the next frame."""
    across = mesh[EYES[1].upper[0], :2] - mesh[EYES[0].upper[0], :2]
    unit = across / max(float(np.hypot(*across)), 1e-9)
    turn = np.array([unit, [-unit[1], unit[0]]])
    turned = mesh[:, :2] @ turn.T
    low, high = turned.min(axis=0), turned.max(axis=0)
    return 0.5 * (low + high) @ turn, across, _CROP_SCALE * float((high - low).max())
