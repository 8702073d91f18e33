"""A model while it learns: its averaged weights, its optimiser, and all that a stopped run goes on from."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

_LONGEST_GRADIENT = 5.0


class Learner:
    """`average` holds the weights averaged over some steps, `losses` those since the last report."""

    def __init__(
        self, model: nn.Module, learning_rate: float, weight_decay: float, ema: float, device: torch.device
    ) -> None:
        self.model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = torch.optim.swa_utils.AveragedModel(
            model,
            multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(ema),  # type: ignore[no-untyped-call]
            use_buffers=True,
        )
        self.optimiser = torch.optim.AdamW(_groups(model, weight_decay), lr=learning_rate)
        self.done = 0
        self.losses: list[float] = []
        self._lowest = math.inf
        self._best: dict[str, Any] = {}

    def go_on(self, kept: Mapping[str, Any]) -> None:
        """Take up what `kept` gave."""
        self.done, self.losses = kept["step"], list(kept["losses"])
        self._lowest, self._best = kept["lowest"], kept["best"]
        if "model" in kept:
            self.model.load_state_dict(kept["model"])
            self.average.load_state_dict(kept["average"])
            self.optimiser.load_state_dict(kept["optimiser"])

    def learn(self, loss: Tensor, learning_rate: float) -> None:
        """One step down the gradient of `loss`."""
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), _LONGEST_GRADIENT)
        self.optimiser.step()
        self.average.update_parameters(self.model)
        self.losses.append(float(loss.detach()))
        self.done += 1

    def begin_from_average(self) -> None:
        """Go on with the averaged weights and statistics in place of the last ones."""
        self.model.load_state_dict(self.average.module.state_dict())

    def consider(self, held_out_loss: float) -> None:
        """Remember the averaged weights if they are the best so far."""
        if not self._best or held_out_loss < self._lowest:
            self._lowest, self._best = held_out_loss, copy.deepcopy(self.average.state_dict())

    def kept(self, finished: bool) -> dict[str, Any]:
        """All that is needed to go on, or the result alone when the phase is `finished`."""
        kept = {"step": self.done, "losses": self.losses, "lowest": self._lowest, "best": self._best}
        if not finished:
            kept |= {"model": self.model.state_dict(), "average": self.average.state_dict()}
            kept |= {"optimiser": self.optimiser.state_dict()}
        return kept

    def result(self) -> nn.Module:
        """The model with its averaged weights as they were when the loss on people held out was lowest.

        With few photos it rises again before the steps are over.
        """
        self.average.load_state_dict(self._best)
        return self.average.module


def _groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Biases and the scales of normalisations do not decay."""
    decayed = [p for p in model.parameters() if p.ndim > 1]
    kept = [p for p in model.parameters() if p.ndim <= 1]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": kept, "weight_decay": 0.0}]
