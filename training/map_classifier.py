"""What teacher and student have in common: maps of a picture, and a head on the mean of the last."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

_DROPOUT = 0.2


class MapClassifier(nn.Module, ABC):
    """Normalised pictures [N, 3, S, S] to logits [N, 2]; a subclass sets `head` and defines `maps`."""

    head: nn.Linear

    @abstractmethod
    def maps(self, pictures: Tensor) -> list[Tensor]:
        """Feature maps [N, C, H, W], the last of which is judged."""

    def forward(self, pictures: Tensor) -> Tensor:
        """See the class."""
        return self.logits_of(self.maps(pictures))

    def logits_of(self, maps: list[Tensor]) -> Tensor:
        """Logits [N, 2] of what `maps` gave."""
        pooled = nn.functional.dropout(maps[-1].mean(dim=(2, 3)), _DROPOUT, self.training)
        logits: Tensor = self.head(pooled)
        return logits
