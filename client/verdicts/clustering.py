"""Agglomerative clustering of face embeddings into persons, with the constraint that faces in one frame are
different people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

LINKED_BELOW = 0.47
"""Distance of embeddings below which clusters of faces are linked."""


@dataclass(frozen=True)
class EmbeddingCluster:
    """Summary of the embeddings of one person's faces: their `mean` [D], the mean squared distance from it
    (`spread`), and their number."""

    mean: npt.NDArray[np.floating[Any]]
    spread: float = 0.0
    size: int = 1

    def join(self, other: EmbeddingCluster) -> EmbeddingCluster:
        """Return the cluster of the faces of both."""
        size = self.size + other.size
        shares = self.size / size, other.size / size
        mean = shares[0] * self.mean + shares[1] * other.mean
        spread = sum(
            share * (cluster.spread + float(((cluster.mean - mean) ** 2).sum()))
            for share, cluster in zip(shares, (self, other), strict=True)
        )
        return EmbeddingCluster(mean, spread, size)

    def distance(self, other: EmbeddingCluster) -> float:
        """Return the root mean squared distance between the faces of both."""
        return float(np.sqrt(((self.mean - other.mean) ** 2).sum() + self.spread + other.spread))


def link_clusters(
    clusters: Sequence[EmbeddingCluster], cannot_link: npt.NDArray[np.bool_]
) -> list[list[int]]:
    """Link clusters of faces into persons, the closest first; return the indices of each person's clusters,
    sorted.

    `cannot_link` [N, N] bool, symmetric: clusters that share a frame, and hence are different people.
    Distances are root mean squares over faces (`EmbeddingCluster.distance`), so that one outlier neither
    joins nor separates two people.
    """
    merged, members = list(clusters), [[index] for index in range(len(clusters))]
    means = np.array([cluster.mean for cluster in clusters], np.float64)
    spreads = np.array([cluster.spread for cluster in clusters])
    apart = cannot_link | np.eye(len(clusters), dtype=bool)
    squares = _squares(means, spreads, range(len(clusters)))
    squares[apart] = np.inf
    while len(clusters):
        one, other = sorted(divmod(int(squares.argmin()), len(clusters)))
        if squares[one, other] >= LINKED_BELOW**2:
            break
        merged[one] = merged[one].join(merged[other])
        means[one], spreads[one] = merged[one].mean, merged[one].spread
        members[one] += members[other]
        members[other] = []
        apart[one] |= apart[other]
        apart[:, one] = apart[one]
        apart[other] = apart[:, other] = True
        fresh = np.where(apart[one], np.inf, _squares(means, spreads, [one])[0])
        squares[one], squares[:, one] = fresh, fresh
        squares[other] = squares[:, other] = np.inf
    return sorted(sorted(person) for person in members if person)


def _squares(
    means: npt.NDArray[np.float64], spreads: npt.NDArray[np.float64], indices: Sequence[int]
) -> npt.NDArray[np.float64]:
    """Return the mean squared distances [S, N] of the faces of S groups, by index, from those of all N."""
    between = [((means - means[index]) ** 2).sum(axis=-1) + spreads[index] for index in indices]
    return np.array(between).reshape(len(indices), len(means)) + spreads
