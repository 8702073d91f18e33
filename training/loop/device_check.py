"""`python -m deepfake_triton.training.loop.device_check FILE`: try training on a GPU for some seconds.

Tells whether pairs generated there are those of the CPU, whether a step waits for the device, and how many
crops a second are made and trained on. FILE holds portraits; see `dataset portraits`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from deepfake_triton.models.metadata import ModelMetadata
from deepfake_triton.preprocessing.crops import CropRule
from deepfake_triton.training.augmentation.pair_options import PairOptions
from deepfake_triton.training.device.drawing import PairDrawer
from deepfake_triton.training.device.generator import PairGenerator, TensorBatch
from deepfake_triton.training.device.pair_table import PairTable
from deepfake_triton.training.device.portrait_bank import build_bank
from deepfake_triton.training.distillation.student import build_objective, build_student
from deepfake_triton.training.faces.portrait_file import read_portrait_file
from deepfake_triton.training.loop.ema_trainer import EmaTrainer
from deepfake_triton.training.loop.frame_phase import images_from_crops, mixed_precision, set_training

LARGEST_DIFFERENCE = 1.0
"""Mean difference, in gray levels, of the CPU's crops and the device's: rounding and the order of sums."""
_COMPARED_PAIRS, _COMPARED_PORTRAITS, _TABLES = 20, 16, 4
_OPTIONS = PairOptions(frozenset({"heavy-compression", "motion-blur"}))
"""What a device does beyond the ordinary."""
_METADATA = ModelMetadata(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


@dataclass(frozen=True)
class DeviceCheck:
    """Mean `difference` of the CPU's crops in gray levels, the step that `waits_in` if any, and crops/s."""

    difference: float
    waits_in: str | None
    made_per_second: float
    trained_per_second: float

    @property
    def is_fit(self) -> bool:
        """Tell whether the device can be trained on."""
        return self.difference <= LARGEST_DIFFERENCE and self.waits_in is None


class _Trial:
    """A generator and a trainer on a device, with tables for some batches."""

    def __init__(self, file: Path, device: torch.device, *, pairs: int, rule: CropRule) -> None:
        self.device, self.rule = device, rule
        self.portraits = read_portrait_file(file).split("train")
        bank = build_bank(self.portraits, device, threads=torch.get_num_threads())
        self.generator = PairGenerator(bank, rule)
        drawer = PairDrawer(bank.faces, rule, _OPTIONS)
        self.tables = [drawer.draw(np.random.default_rng(seed), pairs, 1.0) for seed in range(_TABLES)]
        self.model = build_student(0)
        self.trainer = EmaTrainer(
            self.model, learning_rate=1e-4, weight_decay=0.02, ema_decay=0.99, device=device
        )
        self.objective = build_objective(self.model, None, 0.03)

    def make(self, number: int) -> TensorBatch:
        """Generate a batch."""
        return self.generator.make(self.tables[number % _TABLES])

    def train(self, number: int) -> None:
        """Generate a batch and train on it."""
        batch = self.make(number)
        assert batch.mask_coverage is not None
        set_training(self.model, update_norms=True)
        with mixed_precision(self.device):
            images = images_from_crops(batch.crops, _METADATA)
            loss = self.objective(images, batch.labels, coverage=batch.mask_coverage / 255, progress=0.0)
        self.trainer.optimize(loss, 1e-4)

    def difference(self) -> float:
        """Return the mean difference of what the CPU and the device make of the same pairs, without noise."""
        few = self.portraits[:_COMPARED_PORTRAITS]
        banks = [build_bank(few, device) for device in (torch.device("cpu"), self.device)]
        drawer = PairDrawer(banks[0].faces, self.rule, _OPTIONS)
        table = drawer.draw(np.random.default_rng(0), _COMPARED_PAIRS, 1.0)
        for name in ("noise", "forged_noise"):
            table[name][...] = 0
        ours, theirs = (_crops(PairGenerator(bank, self.rule), table) for bank in banks)
        return float((ours - theirs).abs().mean())


def _crops(generator: PairGenerator, table: PairTable) -> torch.Tensor:
    return generator.make(table).crops.cpu().float()


def check_device(
    file: Path, device: torch.device, *, pairs: int, seconds: float, rule: CropRule
) -> DeviceCheck:
    """Compare, watch and time a device. Raises DatasetError when FILE holds no portraits."""
    torch.backends.cudnn.benchmark = device.type == "cuda"
    trial = _Trial(file, device, pairs=pairs, rule=rule)
    trial.train(0)  # loads kernels, constants and workspaces
    return DeviceCheck(
        difference=trial.difference(),
        waits_in=_waiting_step(trial) if device.type == "cuda" else None,
        made_per_second=2 * pairs * _rate(trial.make, device, seconds),
        trained_per_second=2 * pairs * _rate(trial.train, device, seconds),
    )


def _waiting_step(trial: _Trial) -> str | None:
    """Return where a step waits for the device, None if nowhere."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        trial.train(1)
    except RuntimeError as error:
        frames = error.__traceback__
        while frames and frames.tb_next and "training" in frames.tb_next.tb_frame.f_code.co_filename:
            frames = frames.tb_next
        place = f"{frames.tb_frame.f_code.co_filename}:{frames.tb_lineno}: " if frames else ""
        return f"{place}{error}"
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return None


def _rate(step: Callable[[int], object], device: torch.device, seconds: float) -> float:
    """Return how often a second `step` runs."""
    begin_s, count = time.monotonic(), 0
    while time.monotonic() - begin_s < seconds:
        step(count)
        count += 1
    if device.type == "cuda":
        torch.cuda.synchronize()
    return count / (time.monotonic() - begin_s)


def main(arguments: list[str] | None = None) -> int:
    """Print what was found; 1 where the device is not fit to be trained on."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--pairs", type=int, default=256)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--crop-side", type=int, default=112)
    args = parser.parse_args(arguments)
    check = check_device(
        args.file,
        torch.device(args.device),
        pairs=args.pairs,
        seconds=args.seconds,
        rule=CropRule(args.crop_side, 0.05),
    )
    print(f"{args.device}: differs from the CPU by {check.difference:.3f} gray levels")
    print(
        f"made {check.made_per_second:.0f} crops/s, made and trained {check.trained_per_second:.0f} crops/s"
    )
    if check.waits_in:
        print(f"a step waits for the device: {check.waits_in}")
    return 0 if check.is_fit else 1


if __name__ == "__main__":
    sys.exit(main())
