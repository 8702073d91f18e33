"""Types of arrays that cross module borders. Docstrings name shape and unit wherever one is used."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
"""[H, W, 3] RGB."""
Frames = npt.NDArray[np.uint8]
"""[T, H, W, 3] RGB."""
Points = npt.NDArray[np.float64]
"""[N, 2] as x, y in px."""
Boxes = npt.NDArray[np.float64]
"""[N, 4] as x1, y1, x2, y2 in px."""
