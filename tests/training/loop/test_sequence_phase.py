"""How many steps of the LSTM a run by the clock does."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from deepfake_triton.contracts import FEATURE_SIZE
from deepfake_triton.models.metadata import ModelMetadata
from deepfake_triton.training.loop import sequence_phase
from deepfake_triton.training.loop.clip_features import ClipFeatures
from deepfake_triton.training.loop.run_dir import RunDir, TrainingRun
from deepfake_triton.training.loop.run_state import RunState
from deepfake_triton.training.loop.schedule import Budget
from deepfake_triton.training.loop.sequence_phase import train_sequence
from deepfake_triton.training.loop.settings import SequenceSettings

pytestmark = pytest.mark.fast


def clips(count: int, seed: int) -> ClipFeatures:
    rng = np.random.default_rng(seed)
    features = rng.normal(0, 1, (count, 4, FEATURE_SIZE)).astype(np.float32)
    labels = np.arange(count) % 2
    return ClipFeatures(features, np.full(count, 4), labels, np.arange(count))


def test_the_first_step_and_the_copy_of_the_clips_cost_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A minute passes while the clips are copied, and one in the first step; the others take 0.1 s."""
    now_s, copies, batch_loss = 0.0, 0, sequence_phase._batch_loss
    steps: list[int] = []

    class SlowClips(sequence_phase._DeviceClips):
        def __init__(self, *arguments: Any) -> None:
            nonlocal now_s, copies
            now_s, copies = now_s + 60, copies + 1
            super().__init__(*arguments)

    def slow_loss(*arguments: Any, **named: Any) -> Tensor:
        nonlocal now_s
        now_s += 0.1 if steps else 60
        steps.append(len(steps))
        return batch_loss(*arguments, **named)

    monkeypatch.setattr(sequence_phase, "_DeviceClips", SlowClips)
    monkeypatch.setattr(sequence_phase, "_batch_loss", slow_loss)
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    run = TrainingRun(
        folder=RunDir(tmp_path, {}),
        train=None,  # type: ignore[arg-type]
        val=None,  # type: ignore[arg-type]
        metadata=ModelMetadata(),
        device=torch.device("cpu"),
        workers=0,
        on_progress=lambda *_, **__: None,
        budget=Budget(0.0, 150.0),
    )
    settings = SequenceSettings(hidden_size=4, batch=4, steps=1500, report_every=1000)
    _, state = train_sequence(run, RunState(0), settings, train=clips(8, 0), val=clips(4, 1))
    point = state.last_point("sequence")
    # 0.98 of 150 s are 147 s, of which 120.3 are over.
    assert copies == 1 and point is not None and 260 <= point.step <= 268
