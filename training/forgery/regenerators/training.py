"""Train the networks that redraw faces, on aligned squares of portraits."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from deepfake_triton.arrays import Image
from deepfake_triton.errors import DatasetError
from deepfake_triton.files.atomic import atomic_write
from deepfake_triton.training.faces.portraits import Portrait
from deepfake_triton.training.forgery.aligned_square import cut_square, square_transform
from deepfake_triton.training.forgery.colors import ColorJitter, apply_color_jitter
from deepfake_triton.training.forgery.regenerators.networks import Regenerator
from deepfake_triton.training.forgery.regenerators.specs import REGENERATORS, SPECS, RegeneratorName

_SQUARE_PX = 160  # of the stored squares: more than any network's, so that a small turn loses nothing
_BATCH_SIZE, _LEARNING_RATE, _WARM_UP_STEPS = 8, 3e-3, 30
_UPSAMPLER_STEPS = 1 / 4  # of an autoencoder's: an upsampler has little to learn
_GRADIENT_WEIGHT = 0.5
_AUTOENCODER_CONTRAST, _UPSAMPLER_CONTRAST = 0.2, 0.5  # weights of the local contrast
_RECORD = "training"


@dataclass(frozen=True)
class RegeneratorFacts:
    """How one network was trained: `loss` is the mean absolute error of its last steps, in gray levels.

    The shipped file is of before there was a `seed` in it, and of the default one.
    """

    steps: int
    batch_size: int
    photos: int
    portraits_sha256: str
    processor_minutes: float
    finished: str
    loss: float
    seed: int = 0


def train_regenerators(
    portraits: Sequence[Portrait],
    file: Path,
    *,
    steps: int,
    portraits_sha256: str,
    seed: int = 0,
    on_step: Callable[[RegeneratorName, int, int], None] | None = None,
) -> dict[RegeneratorName, RegeneratorFacts]:
    """Train every network and write the weights of all as FP16, with the facts, into one safetensors `file`.

    Autoencoders take `steps`, upsamplers a quarter of them; `on_step` gets the name, the step and how many
    there are. The file is written after each network, and those in it are kept: an interrupted run goes on.
    Raises DatasetError when those in it were trained otherwise.
    """
    weights, facts = _read(file) if file.is_file() else ({}, {})
    for name, stored in facts.items():
        wanted = replace(
            stored,
            steps=_steps_of(name, steps),
            batch_size=_BATCH_SIZE,
            portraits_sha256=portraits_sha256,
            seed=seed,
        )
        _require_same(file, name, stored=asdict(stored), wanted=asdict(wanted))
    if len(facts) < len(REGENERATORS):
        squares = [_square(portrait) for portrait in portraits]
    for index, name in enumerate(REGENERATORS):
        if name in facts:
            continue
        count = _steps_of(name, steps)
        began = time.process_time()
        torch.manual_seed(seed)
        model = Regenerator(SPECS[name]).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        batches = _batches(squares, np.random.default_rng([seed, index]), count)
        errors = []
        for step, error in enumerate(_fit(model, batches, count)):
            errors.append(error)
            if on_step:
                on_step(name, step + 1, count)
        weights |= {
            f"{name}.{key}": value.detach().half().contiguous() for key, value in model.state_dict().items()
        }
        facts[name] = RegeneratorFacts(
            steps=count,
            batch_size=_BATCH_SIZE,
            photos=len(portraits),
            portraits_sha256=portraits_sha256,
            processor_minutes=round((time.process_time() - began) / 60, 2),
            finished=time.strftime("%Y-%m-%d", time.gmtime()),
            loss=round(float(np.mean(errors[-max(1, count // 20) :])), 2),
            seed=seed,
        )
        _write(file, weights, facts)
    return facts


def _steps_of(name: RegeneratorName, steps: int) -> int:
    """Return the steps of a network where autoencoders take `steps`."""
    return steps if SPECS[name].code_channels else max(1, round(steps * _UPSAMPLER_STEPS))


def _require_same(file: Path, name: str, *, stored: dict[str, object], wanted: dict[str, object]) -> None:
    for setting, value in wanted.items():
        if stored[setting] != value:
            raise DatasetError(
                f"{file}: holds {name} of other settings: {setting}: got {stored[setting]!r}, expected "
                f"{value!r}; name a new file"
            )


def _fit(model: Regenerator, batches: Iterator[npt.NDArray[np.uint8]], steps: int) -> Iterator[float]:
    """Fit a network; yields its mean absolute error at each step, in gray levels."""
    optimizer = torch.optim.AdamW(model.parameters(), _LEARNING_RATE, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min((step + 1) / _WARM_UP_STEPS, 0.5 + 0.5 * float(np.cos(np.pi * step / steps))),
    )
    for pictures in batches:
        faces = torch.from_numpy(pictures).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)
        spec = model.spec
        target = _shrunk(faces, spec.output_px)
        drawn = model(_shrunk(faces, spec.input_px).contiguous(memory_format=torch.channels_last))
        contrast = _AUTOENCODER_CONTRAST if spec.code_channels else _UPSAMPLER_CONTRAST
        loss = _loss(drawn, target, contrast=contrast)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        yield 127.5 * float((drawn.detach() - target).abs().mean())


def _shrunk(faces: torch.Tensor, side: int) -> torch.Tensor:
    if faces.shape[-1] == side:
        return faces
    return F.interpolate(faces, (side, side), mode="bilinear", align_corners=False, antialias=True)


def _loss(drawn: torch.Tensor, target: torch.Tensor, *, contrast: float) -> torch.Tensor:
    """Return the absolute error of pixels, of their differences, and of the local contrast.

    The less the last weighs, the softer is the skin; the more, the more detail is there that never was.
    """
    error = (drawn - target).abs().mean()
    for dim in (2, 3):
        error = error + _GRADIENT_WEIGHT * (drawn.diff(dim=dim) - target.diff(dim=dim)).abs().mean()
    return error + contrast * (_local_contrast(drawn) - _local_contrast(target)).abs().mean()


def _local_contrast(faces: torch.Tensor) -> torch.Tensor:
    detail = faces - F.avg_pool2d(faces, 3, 1, 1)
    return (F.avg_pool2d(detail.square(), 7, 1, 3) + 1e-5).sqrt()


def _square(portrait: Portrait) -> Image:
    return cut_square(portrait.pixels, square_transform(portrait.landmarks, _SQUARE_PX), _SQUARE_PX)


def _batches(
    squares: Sequence[Image], rng: np.random.Generator, count: int
) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield batches [B, S, S, 3] of faces: slightly moved, turned, mirrored and colored."""
    side = max(spec.output_px for spec in SPECS.values())
    for _ in range(count):
        picked = rng.integers(len(squares), size=_BATCH_SIZE)
        yield np.stack([_varied(squares[int(index)], rng, side) for index in picked])


def _varied(square: Image, rng: np.random.Generator, side: int) -> Image:
    scale = side / _SQUARE_PX * float(np.exp(rng.normal(0, 0.05)))
    angle = np.deg2rad(rng.normal(0, 4))
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    if rng.uniform() < 0.5:
        linear[:, 0] *= -1
    middle = (side - 1) / 2 + rng.normal(0, 0.02 * side, 2)
    shift = middle - linear @ np.full(2, (_SQUARE_PX - 1) / 2)
    moved = cv2.warpAffine(
        square, np.column_stack([linear, shift]), (side, side), borderMode=cv2.BORDER_REPLICATE
    )
    red, green, blue = np.exp(rng.normal(0, 0.12) + rng.normal(0, 0.04, 3)).tolist()
    return apply_color_jitter(np.asarray(moved, np.uint8), ColorJitter(gain=(red, green, blue)))


def _read(file: Path) -> tuple[dict[str, torch.Tensor], dict[RegeneratorName, RegeneratorFacts]]:
    try:
        with safe_open(file, "pt") as stored:
            record = json.loads(stored.metadata()[_RECORD])
        facts = {name: RegeneratorFacts(**record[name]) for name in REGENERATORS if name in record}
        return load_file(file), facts
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{file}: cannot be read as regenerators: {error}; name another file") from error


def _write(
    file: Path, weights: dict[str, torch.Tensor], facts: dict[RegeneratorName, RegeneratorFacts]
) -> None:
    record = {name: asdict(values) for name, values in facts.items()}
    file.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(file) as partial:
        save_file(weights, partial, {_RECORD: json.dumps(record)})
