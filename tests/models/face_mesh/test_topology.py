"""The mesh's triangles and the points with names."""

from __future__ import annotations

import numpy as np
import pytest

from deepfake_triton.models.face_mesh.topology import (
    EYES,
    LOWER_LIP,
    NUM_POINTS,
    OUTLINE,
    UPPER_LIP,
    closed_triangles,
    surface_triangles,
)

pytestmark = pytest.mark.fast


def border(triangles: np.ndarray) -> set[int]:
    """Vertices on edges of a single triangle."""
    edges = np.sort(triangles[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    unique, counts = np.unique(edges, axis=0, return_counts=True)
    return set(unique[counts == 1].ravel().tolist())


def test_the_surface_ends_at_the_outline_the_lids_and_the_lips() -> None:
    openings = {*UPPER_LIP, *LOWER_LIP}.union(*({*eye.upper, *eye.lower} for eye in EYES))
    triangles = surface_triangles()
    assert triangles.shape == (852, 3) and set(triangles.ravel().tolist()) == set(range(NUM_POINTS))
    assert border(triangles) == openings | set(OUTLINE)


def test_closed_openings_leave_the_outline_as_the_only_border() -> None:
    assert border(closed_triangles()) == set(OUTLINE)
    edges = np.sort(closed_triangles()[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    assert np.unique(edges, axis=0, return_counts=True)[1].max() == 2


def test_both_edges_of_an_opening_share_their_corners() -> None:
    for upper, lower in ((UPPER_LIP, LOWER_LIP), *((eye.upper, eye.lower) for eye in EYES)):
        assert (upper[0], upper[-1]) == (lower[0], lower[-1])
        assert len(upper) == len(lower) and not set(upper[1:-1]) & set(lower)
