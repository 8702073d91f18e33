"""Clustering of points whose groups are known by construction."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from deepfake_triton.client.verdicts.clustering import LINKED_BELOW, EmbeddingCluster, link_clusters

pytestmark = pytest.mark.fast


def linked(
    *places: float, cannot_link: tuple[tuple[int, int], ...] = (), sizes: list[int] | None = None
) -> list[list[int]]:
    """Points on a line, in units in which groups less than 1 apart are linked."""
    apart = np.zeros((len(places), len(places)), bool)
    for one, other in cannot_link:
        apart[one, other] = apart[other, one] = True
    groups = [
        EmbeddingCluster(np.array([LINKED_BELOW * place, 0]), size=size)
        for place, size in zip(places, sizes or [1] * len(places), strict=True)
    ]
    return link_clusters(groups, apart)


def test_what_lies_close_is_linked_and_nothing_else() -> None:
    assert linked(0, 5, 0.3, 5.6, 9, 0.9) == [[0, 2, 5], [1, 3], [4]]


def test_one_face_and_none() -> None:
    assert linked(3) == [[0]]
    assert link_clusters([], np.zeros((0, 0), bool)) == []


def test_who_was_seen_together_stays_apart_through_others_too() -> None:
    assert linked(0, 0.1, cannot_link=((0, 1),)) == [[0], [1]]
    assert linked(0, 0.3, 0.1, cannot_link=((0, 1),)) == [[0, 2], [1]]


@pytest.mark.parametrize("seed", range(5))
def test_people_who_are_always_seen_together_stay_whole(seed: int) -> None:
    """Three people in each of eight windows, in any order, the first two as alike as one person is."""
    generator, centers = np.random.default_rng(seed), np.array([[0, 0, 0], [0.9, 0, 0], [0, 3, 0]])
    who = [int(person) for _ in range(8) for person in generator.permutation(3)]
    points = LINKED_BELOW * (centers[who] + generator.normal(0, 0.08, (24, 3)))
    windows = np.repeat(np.arange(8), 3)
    cannot_link = (windows[:, None] == windows) & ~np.eye(24, dtype=bool)
    found = link_clusters([EmbeddingCluster(point) for point in points], cannot_link)
    assert found == sorted([index for index in range(24) if who[index] == person] for person in range(3))


def test_the_most_alike_are_linked_first() -> None:
    assert linked(0, 0.9, 1.2, cannot_link=((0, 2),)) == [[0], [1, 2]]


def test_a_chain_of_steps_does_not_join_its_ends() -> None:
    groups = linked(0, 0.8, 1.6, 2.4, 3.2)
    assert len(groups) > 1 and sorted(index for group in groups for index in group) == [0, 1, 2, 3, 4]


def test_a_group_weighs_as_many_faces_as_it_has() -> None:
    assert linked(0, 0.5, 1.2, sizes=[9, 1, 1]) == [[0, 1], [2]]
    assert linked(0, 0.5, 1.2, sizes=[1, 9, 1]) == [[0, 1, 2]]


def test_a_joined_group_has_the_mean_and_the_spread_of_its_faces() -> None:
    faces = np.random.default_rng(0).normal(size=(7, 5))
    groups = [EmbeddingCluster(face) for face in faces]
    one, other = (
        functools.reduce(EmbeddingCluster.join, groups[:3]),
        functools.reduce(EmbeddingCluster.join, groups[3:]),
    )
    joined = one.join(other)
    np.testing.assert_allclose(joined.mean, faces.mean(axis=0))
    assert joined.spread == pytest.approx(float(((faces - faces.mean(axis=0)) ** 2).sum(axis=1).mean()))
    assert joined.size == 7
