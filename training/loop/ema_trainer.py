"""Optimizer and exponential moving average (EMA) of a model in training, with a resumable state."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from deepfake_triton.training.loop.run_state import TrainerState

_MAX_GRADIENT_NORM = 5.0


class EmaTrainer:
    """Trainer of one model with AdamW and an exponential moving average of its weights.

    `average` holds the averaged weights, `losses` those since the last report.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        learning_rate: float,
        weight_decay: float,
        ema_decay: float,
        device: torch.device,
    ) -> None:
        self.model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = torch.optim.swa_utils.AveragedModel(
            model,
            multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(ema_decay),  # type: ignore[no-untyped-call]
            use_buffers=True,
        )
        self.optimizer = torch.optim.AdamW(_parameter_groups(model, weight_decay), lr=learning_rate)
        self.step = 0
        self.losses: list[float] = []
        self._lowest_loss = math.inf
        self._best: dict[str, Tensor] = {}

    def load_state_dict(self, state: TrainerState) -> None:
        """Restore what `state_dict` returned."""
        self.step, self.losses = state["step"], list(state["losses"])
        self._lowest_loss, self._best = state["lowest"], state["best"]
        if "model" in state:
            self.model.load_state_dict(state["model"])
            self.average.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimiser"])

    def state_dict(self, *, finished: bool) -> TrainerState:
        """Return all that is needed to resume; of a `finished` phase, only its result."""
        state: TrainerState = {
            "step": self.step,
            "losses": self.losses,
            "lowest": self._lowest_loss,
            "best": self._best,
        }
        if not finished:
            state["model"] = self.model.state_dict()
            state["average"] = self.average.state_dict()
            state["optimiser"] = self.optimizer.state_dict()
        return state

    def optimize(self, loss: Tensor, learning_rate: float) -> None:
        """Take one step down the gradient of the scalar `loss`, and update the average."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), _MAX_GRADIENT_NORM)
        self.optimizer.step()
        self.average.update_parameters(self.model)
        self.losses.append(float(loss.detach()))
        self.step += 1

    def load_average(self) -> None:
        """Replace the weights and batch-norm statistics in training by their average."""
        self.model.load_state_dict(self.average.module.state_dict())

    def keep_if_best(self, val_loss: float) -> None:
        """Keep a copy of the averaged weights, in half precision, if `val_loss` is the lowest so far."""
        if not self._best or val_loss < self._lowest_loss:
            self._lowest_loss, self._best = val_loss, _halve(self.average.state_dict())

    def best_model(self) -> nn.Module:
        """Return the model with the averaged weights of the lowest validation loss.

        With few photos that loss rises again before the last step.
        """
        self.average.load_state_dict(self._best)
        return self.average.module


def _halve(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a copy in half precision, on the CPU."""
    return {
        name: (value.half() if value.is_floating_point() else value).cpu().clone()
        for name, value in state.items()
    }


def _parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Split parameters into weights, which decay, and biases and norm scales, which do not."""
    weights = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    return [{"params": weights, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
