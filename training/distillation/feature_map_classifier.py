"""Base class of teacher and student: feature maps of an image, and a linear head on the mean of the last."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

_DROPOUT = 0.2


class FeatureMapClassifier(nn.Module, ABC):
    """Classifier of normalized images [N, 3, S, S] to logits [N, 2] (real, fake).

    A subclass sets `head` and defines `feature_maps`.
    """

    head: nn.Linear

    @abstractmethod
    def feature_maps(self, images: Tensor) -> list[Tensor]:
        """Return feature maps [N, C, H, W]; the last one is classified."""

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [N, 2] of normalized images [N, 3, S, S]."""
        return self.logits_from_feature_maps(self.feature_maps(images))

    def logits_from_feature_maps(self, feature_maps: list[Tensor]) -> Tensor:
        """Return logits [N, 2] of the result of `feature_maps`."""
        pooled = nn.functional.dropout(feature_maps[-1].mean(dim=(2, 3)), _DROPOUT, self.training)
        logits: Tensor = self.head(pooled)
        return logits
