"""Change of a forgery from frame to frame: slow jitter, and the faults by which time gives it away."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

JITTERED_PARAMETERS = 8
_LONGEST_DROPOUT_FRAMES = 3
_LARGEST_FAULT = 2.0  # in units of the jitter
_LEAST_OPACITY = 0.3  # a fake that equals its real would be a wrong label
_STRETCHES = 64  # drawn lengths between re-initializations; they repeat after the last


@dataclass(frozen=True)
class TemporalJitter:
    """Slow and fast sine waves of the eight jittered parameters, each in about -1…1.

    `phase` and `rate` (radians per frame) are [waves, 8], `weight` is [waves, 1].
    """

    phase: npt.NDArray[np.float64]
    rate: npt.NDArray[np.float64]
    weight: npt.NDArray[np.float64]

    def at(self, frame_index: int) -> npt.NDArray[np.float64]:
        """Return the eight values [8] at a frame."""
        value: npt.NDArray[np.float64] = (self.weight * np.sin(self.phase + self.rate * frame_index)).sum(
            axis=0
        )
        return value


def sample_temporal_jitter(rng: np.random.Generator) -> TemporalJitter:
    """Draw a slow and a fast wave for each jittered parameter."""
    return TemporalJitter(
        phase=rng.uniform(0, 2 * np.pi, (2, JITTERED_PARAMETERS)),
        rate=np.stack(
            [rng.uniform(0.1, 0.6, JITTERED_PARAMETERS), rng.uniform(1.0, 3.0, JITTERED_PARAMETERS)]
        ),
        weight=np.array([[0.65], [0.35]]),
    )


@dataclass(frozen=True)
class FrameFaults:
    """Faults of one frame: added to the eight jittered parameters, `opacity` and color `gain` as factors."""

    waves: npt.NDArray[np.float64]
    opacity: float
    gain: tuple[float, float, float]
    dropped: bool


@dataclass(frozen=True)
class TemporalFaults:
    """Faults of a forger that treats every frame by itself, or loses the face.

    `flicker` are standard deviations from frame to frame of opacity, color and position (the last in units of
    the jitter). A `dropout_rate` of the frames begins a drop-out of one to three frames, which show the real
    face. A re-initialization follows after each of `stretch_frames` [N]: the forged face then sits elsewhere,
    by a standard deviation of `jump` in units of the jitter.
    """

    flicker: tuple[float, float, float]
    dropout_rate: float
    stretch_frames: npt.NDArray[np.int64]
    jump: float
    seed: int

    def at(self, frame_index: int) -> FrameFaults:
        """Return the faults of a frame; the first is never dropped, so that a still is always forged."""
        rng = np.random.default_rng([self.seed, frame_index, 0])
        opacity, color, position = self.flicker
        own = np.random.default_rng([self.seed, self._stretch(frame_index), 1])
        waves = self.jump * own.standard_normal(JITTERED_PARAMETERS)
        waves += position * rng.standard_normal(JITTERED_PARAMETERS)
        gain = np.exp(color * (rng.standard_normal() + 0.5 * rng.standard_normal(3)))
        return FrameFaults(
            waves=np.clip(waves, -_LARGEST_FAULT, _LARGEST_FAULT),
            opacity=float(np.clip(1 - opacity * abs(rng.standard_normal()), _LEAST_OPACITY, 1)),
            gain=(float(gain[0]), float(gain[1]), float(gain[2])),
            dropped=self._is_dropped(frame_index),
        )

    def _is_dropped(self, frame_index: int) -> bool:
        if not self.dropout_rate:
            return False
        for start in range(max(1, frame_index - _LONGEST_DROPOUT_FRAMES + 1), frame_index + 1):
            rng = np.random.default_rng([self.seed, start, 2])
            begins, length = rng.random() < self.dropout_rate, rng.integers(1, _LONGEST_DROPOUT_FRAMES + 1)
            if begins and frame_index < start + length:
                return True
        return False

    def _stretch(self, frame_index: int) -> int:
        """Return the number of re-initializations up to a frame."""
        rounds, rest = divmod(frame_index, int(self._ends[-1]))
        return rounds * len(self._ends) + int(np.searchsorted(self._ends, rest, side="right"))

    @cached_property
    def _ends(self) -> npt.NDArray[np.int64]:
        return np.cumsum(self.stretch_frames)


def sample_temporal_faults(rng: np.random.Generator, strength: float = 1.0) -> TemporalFaults:
    """Draw faults; each of flicker, drop-outs and re-initializations is absent from about half the clips."""
    flickers, drops, jumps = rng.random(3) < (0.6, 0.35, 0.4)
    opacity, color, position = strength * rng.uniform(0, 1, 3) * (0.35, 0.05, 1.2) * flickers
    return TemporalFaults(
        flicker=(float(opacity), float(color), float(position)),
        dropout_rate=float(rng.uniform(0.02, 0.12)) * float(drops),
        stretch_frames=rng.geometric(1 / rng.uniform(5, 25), _STRETCHES),
        jump=strength * float(rng.uniform(0.4, 1.5)) * float(jumps),
        seed=int(rng.integers(2**31)),
    )
