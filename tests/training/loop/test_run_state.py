"""The state of a run: its stored form, which earlier releases wrote too, and copies instead of changes."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from deepfake_triton.errors import DatasetError
from deepfake_triton.training.loop.ema_trainer import EmaTrainer
from deepfake_triton.training.loop.run_dir import RunDir
from deepfake_triton.training.loop.run_state import CurvePoint, RunState

pytestmark = pytest.mark.fast

ROW = {
    "phase": "backbone",
    "step": 3,
    "loss": 0.7,
    "val_loss": 0.6,
    "val_auc": 0.5,
    "learning_rate": 0.001,
    "strength": 2.2,
}


def trainer() -> EmaTrainer:
    torch.manual_seed(0)
    model = nn.Linear(2, 1)
    made = EmaTrainer(model, learning_rate=0.1, weight_decay=0.1, ema_decay=0.5, device=torch.device("cpu"))
    for _ in range(3):
        made.optimize(model(torch.ones(1, 2)).sum(), 0.1)
        made.keep_if_best(float(made.losses[-1]))
    return made


def stored_by_earlier_releases() -> dict[str, Any]:
    """A plain dictionary, with the keys that are in run folders of interrupted runs."""
    before = trainer()
    return {
        "seed": 5,
        "curve": [ROW],
        "backbone": {
            "step": before.step,
            "losses": before.losses,
            "lowest": min(before.losses),
            "best": before.average.state_dict(),
            "model": before.model.state_dict(),
            "average": before.average.state_dict(),
            "optimiser": before.optimizer.state_dict(),
        },
    }


def test_a_state_of_an_earlier_release_is_resumed(tmp_path: Path) -> None:
    folder = RunDir(tmp_path, {"seed": 5})
    assert folder.load_state() is None
    torch.save(stored_by_earlier_releases(), tmp_path / "state.pt")
    state = folder.load_state()
    assert state is not None and (state.seed, state.curve) == (5, (CurvePoint(**ROW),))  # type: ignore[arg-type]
    before, resumed = trainer(), trainer()
    resumed.load_state_dict(state.phases["backbone"])
    assert resumed.step == 3 and resumed.losses == before.losses
    for made in (before, resumed):
        made.optimize(made.model(torch.ones(1, 2)).sum(), 0.1)
    assert all(
        torch.equal(a, b) for a, b in zip(before.model.parameters(), resumed.model.parameters(), strict=True)
    )
    with pytest.raises(DatasetError, match="seed: got 5, expected 6"):
        RunDir(tmp_path, {"seed": 6})


def test_what_is_stored_has_the_same_keys(tmp_path: Path) -> None:
    made, folder = trainer(), RunDir(tmp_path, {})
    state = RunState(5).with_point(CurvePoint(**ROW))  # type: ignore[arg-type]
    state = state.with_phase("backbone", made.state_dict(finished=False))
    folder.save_state(state)
    stored = torch.load(tmp_path / "state.pt", weights_only=True)
    expected = stored_by_earlier_releases()
    assert list(stored) == list(expected) and stored["curve"] == expected["curve"]
    assert list(stored["backbone"]) == list(expected["backbone"])
    assert list(made.state_dict(finished=True)) == ["step", "losses", "lowest", "best"]
    assert (tmp_path / "curve.csv").read_text() == (
        "phase,step,loss,val_loss,val_auc,learning_rate,strength\nbackbone,3,0.7,0.6,0.5,0.001,2.2\n"
    )


def test_a_state_is_copied_and_not_changed() -> None:
    start = RunState(1)
    first = CurvePoint("backbone", 1, loss=1, val_loss=1, val_auc=0.5, learning_rate=0.1, strength=2)
    last = CurvePoint("sequence", 1, loss=1, val_loss=1, val_auc=0.5, learning_rate=0.1)
    state = (
        start.with_point(first).with_point(last).with_phase("backbone", trainer().state_dict(finished=True))
    )
    assert start == RunState(1) and state.curve == (first, last) and list(state.phases) == ["backbone"]
    assert state.last_point("backbone") == first and start.last_point("backbone") is None
    assert state.without_curve_of("sequence").curve == (first,)
    assert "strength" not in last.to_json() and CurvePoint.from_json(last.to_json()) == last


def test_a_run_goes_on_on_another_device_and_with_settings_that_it_did_not_have_yet(tmp_path: Path) -> None:
    RunDir(tmp_path, {"seed": 5, "device": "cpu", "backbone": {"steps": 3}})
    RunDir(tmp_path, {"seed": 5, "device": "cuda", "backbone": {"steps": 3, "pair_uses": 2}})
    with pytest.raises(DatasetError, match="backbone: got"):
        RunDir(tmp_path, {"seed": 5, "device": "cpu", "backbone": {"steps": 4, "pair_uses": 2}})
    with pytest.raises(DatasetError, match=r"minutes: got None, expected 2\.5"):
        RunDir(tmp_path, {"seed": 5, "device": "cpu", "backbone": {"steps": 3}, "minutes": 2.5})


def test_a_compact_state_is_small_and_goes_on_from_the_average(tmp_path: Path) -> None:
    before, resumed = trainer(), trainer()
    compact = before.state_dict(finished=False, compact=True)
    assert list(compact) == ["step", "losses", "lowest", "best", "average"]
    kept = {name: value.clone() for name, value in compact["average"].items()}
    folder = RunDir(tmp_path, {})
    folder.save_state(RunState(5).with_phase("backbone", compact), wait=False)
    before.optimize(before.model(torch.ones(1, 2)).sum(), 0.1)  # while the state is written
    folder.save_state(RunState(5).with_phase("backbone", compact))
    state = RunDir(tmp_path, {}).load_state()
    assert state is not None
    resumed.load_state_dict(state.phases["backbone"])
    assert resumed.step == 3
    for name, value in resumed.average.state_dict().items():
        assert torch.equal(value, kept[name].to(value.dtype))
    for own, averaged in zip(resumed.model.parameters(), resumed.average.module.parameters(), strict=True):
        assert torch.equal(own, averaged)
    assert before.warmth(4) == 1
    warmths = []
    for _ in range(5):
        warmths.append(resumed.warmth(4))
        resumed.optimize(resumed.model(torch.ones(1, 2)).sum(), 0.1)
    assert warmths == [0.25, 0.5, 0.75, 1, 1]  # an optimizer without moments begins slowly
    assert resumed.step == 8 and len(resumed.losses) == 8


def test_an_optimizer_computes_as_its_device_does_not_as_the_state_s() -> None:
    before, resumed = trainer(), trainer()
    state = before.state_dict(finished=False)
    state["optimiser"] = copy.deepcopy(state["optimiser"])
    for group in state["optimiser"]["param_groups"]:
        group["fused"] = True
    resumed.load_state_dict(state)
    assert [group["fused"] for group in resumed.optimizer.param_groups] == [False, False]
    assert resumed.learning_rate == 0.1


def test_a_state_that_cannot_be_written_is_told_with_the_next(tmp_path: Path) -> None:
    folder = RunDir(tmp_path / "run", {})
    (tmp_path / "run" / "state.pt").mkdir()
    folder.save_state(RunState(5), wait=False)
    with pytest.raises(OSError, match=r"state\.pt"):
        folder.save_state(RunState(5))
