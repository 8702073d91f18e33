"""Parameters of pairs as rows of numbers, to be copied to the device at once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

Values = npt.NDArray[np.float32]

SKIN_SHIFTS = 10
WAVES = 8
COLUMNS: dict[str, tuple[int, ...]] = {
    # The view: portrait and donor by their number, then as in `Variation` and `Placement`.
    "portrait": (),
    "donor": (),
    "warp": (5, 5, 2),
    "gain": (3, 3, 3),
    "face_px": (),
    "rotation": (),
    "stretch": (2,),
    "mirrored": (),
    # The forgery, as in `ForgeryRecipe`; a `face_px` of 0 keeps the resolution.
    "region": (),
    "bend": (8, 2),
    "grow": (),
    "blur": (),
    "erode": (),
    "waves": (WAVES,),
    "color_matrix": (3, 4),
    "gamma": (),
    "shift": (2,),
    "scale": (),
    "turn": (),
    "skin_shifts": (SKIN_SHIFTS, 4),
    "low_px": (),
    "checkerboard": (),
    "sharpen": (),
    "forged_noise": (),
    "opacity": (),
    "is_swap": (),
    "transfers_colors": (),
    # What both pictures of a pair go through, as in `Degradation`; 0 stands for a codec that is not used.
    "all_color_matrix": (3, 4),
    "all_gamma": (),
    "earlier_quality": (),
    "earlier_scale": (),
    "all_scale": (),
    "blur_px": (),
    "noise": (),
    "chroma_scale": (),
    "jpeg_quality": (),
    "h264_crf": (),
    "motion_blur": (4,),
    # The crop: by how much its sides miss the face, and the hole (top, bottom, left, right) and its color.
    "move": (4,),
    "hole": (4,),
    "hole_color": (3,),
}
"""Shape of each parameter in a row."""
_ENDS = np.cumsum([math.prod(shape) for shape in COLUMNS.values()]).tolist()
_SLICES = {
    name: slice(end - math.prod(shape), end)
    for (name, shape), end in zip(COLUMNS.items(), _ENDS, strict=True)
}
ROW_VALUES: int = _ENDS[-1]


@dataclass(frozen=True)
class PairTable:
    """Parameters [N, K] float32 of pairs; `COLUMNS` names them. `seed` is that of the noise."""

    values: Values
    seed: int = 0

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, name: str) -> Values:
        """Return a parameter [N, ...] of all pairs."""
        return self.values[:, _SLICES[name]].reshape(len(self), *COLUMNS[name])

    def rows(self, chosen: npt.NDArray[np.int64]) -> PairTable:
        """Return the pairs of the numbers `chosen`."""
        return PairTable(self.values[chosen], self.seed)


@dataclass(frozen=True)
class Parameters:
    """A `PairTable` on the device."""

    values: Tensor

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, name: str) -> Tensor:
        """Return a parameter [N, ...] of all pairs."""
        return self.values[:, _SLICES[name]].reshape(len(self), *COLUMNS[name])

    def index(self, name: str) -> Tensor:
        """Return a parameter [N] as int64."""
        return self[name].long()

    def rows(self, chosen: Tensor) -> Parameters:
        """Return the pairs of the numbers `chosen`."""
        return Parameters(self.values[chosen])


def pack_row(parameters: Mapping[str, npt.ArrayLike]) -> Values:
    """Return one row [K] of a table. Raises KeyError when a parameter is missing."""
    row = np.empty(ROW_VALUES, np.float32)
    for name, place in _SLICES.items():
        row[place] = np.ravel(parameters[name])
    return row
