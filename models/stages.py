"""One value for each of the three networks: graphs, runners, names, reports."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from deepfake_triton.contracts import face_detector, feature_extractor, sequence_classifier

T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True, kw_only=True)
class Stages(Generic[T]):
    """One value for each network, in the order in which a clip passes them.

    `detector` takes frames to candidate faces, `extractor` face crops to features, `classifier` features to a
    probability of FAKE.
    """

    detector: T
    extractor: T
    classifier: T

    def __iter__(self) -> Iterator[T]:
        yield from (self.detector, self.extractor, self.classifier)

    def map(self, function: Callable[[T], U]) -> Stages[U]:
        """Return what `function` returns for each stage."""
        return Stages(
            detector=function(self.detector),
            extractor=function(self.extractor),
            classifier=function(self.classifier),
        )

    def by_model(self) -> dict[str, T]:
        """Return the values by the name of the served model, such as `face_detector`."""
        return dict(zip(MODEL_NAMES, self, strict=True))


MODEL_NAMES = Stages(
    detector=face_detector().name,
    extractor=feature_extractor().name,
    classifier=sequence_classifier().name,
)
"""Names of the served models that run a network."""
