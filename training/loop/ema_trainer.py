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

    `average` holds the averaged weights. On a GPU, no step waits for the device: losses stay there until they
    are read.
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
        self.average = torch.optim.swa_utils.AveragedModel(model, use_buffers=True)
        self.optimizer = torch.optim.AdamW(
            _parameter_groups(model, weight_decay), lr=learning_rate, fused=device.type == "cuda"
        )
        self.step = 0
        self._begun_anew_at: int | None = None
        self._device, self._decay = device, ema_decay
        self._losses: list[Tensor] = []
        self._lowest_loss = math.inf
        self._best: dict[str, Tensor] = {}

    def load_state_dict(self, state: TrainerState) -> None:
        """Restore what `state_dict` returned."""
        self.step = state["step"]
        self._losses = [torch.tensor(loss, device=self._device) for loss in state["losses"]]
        self._lowest_loss, self._best = state["lowest"], state["best"]
        if "average" in state:
            self.average.load_state_dict(state["average"])
        if "model" in state:
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(self._for_this_device(state["optimiser"]))
        elif "average" in state:
            self.load_average()
            self._begun_anew_at = self.step

    def _for_this_device(self, stored: dict[str, Any]) -> dict[str, Any]:
        """Return an optimizer's state that computes as this device does, not as the one it was stored on."""
        is_fused = self._device.type == "cuda"
        return stored | {"param_groups": [group | {"fused": is_fused} for group in stored["param_groups"]]}

    @property
    def learning_rate(self) -> float:
        """The learning rate of the last step."""
        return float(self.optimizer.param_groups[0]["lr"])

    def warmth(self, warmup: int) -> float:
        """Return the factor of the next step's learning rate, under 1 while a new optimizer warms up.

        It does after a compact state, which holds no moments of the gradients.
        """
        if self._begun_anew_at is None:
            return 1.0
        return min(1.0, (self.step - self._begun_anew_at + 1) / max(1, warmup))

    @property
    def losses(self) -> list[float]:
        """The losses of the steps since the last report; reading them waits for the device."""
        return list(torch.stack(self._losses).tolist()) if self._losses else []

    def clear_losses(self) -> None:
        """Begin a new report."""
        self._losses = []

    def state_dict(self, *, finished: bool, compact: bool = False) -> TrainerState:
        """Return all that is needed to resume; of a `finished` phase, only its result.

        A `compact` state, a quarter of the size, holds the average in half precision in place of weights and
        optimizer: training goes on from it, but not as if it had not been interrupted. It is a copy.
        """
        state: TrainerState = {
            "step": self.step,
            "losses": self.losses,
            "lowest": self._lowest_loss,
            "best": self._best,
        }
        if not finished and compact:
            state["average"] = _halve(self.average.state_dict())
        elif not finished:
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
        self._update_average()
        self._losses.append(loss.detach())
        self.step += 1

    @torch.no_grad()
    def _update_average(self) -> None:
        """Do what `AveragedModel.update_parameters` does, without its copies from and to the device."""
        averaged = [*self.average.module.parameters(), *self.average.module.buffers()]
        current = [*self.model.parameters(), *self.model.buffers()]
        floats, counts = (
            [pair for pair in zip(averaged, current, strict=True) if pair[0].is_floating_point() == is_float]
            for is_float in (True, False)
        )
        updates = self.average.n_averaged  # stays on the CPU
        weight = 1 - self._decay if updates.item() else 1.0
        torch._foreach_lerp_([old for old, _ in floats], [new for _, new in floats], weight)
        if counts:
            torch._foreach_copy_([old for old, _ in counts], [new for _, new in counts])
        updates += 1

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
