"""Names of the kinds of forgery."""

from __future__ import annotations

from typing import Literal, get_args

Kind = Literal["self-blend", "reenact", "mouth", "swap", "regenerate", "render-mouth", "blotches"]
KINDS: tuple[Kind, ...] = get_args(Kind)
CLASSIC_KINDS: tuple[Kind, ...] = ("self-blend", "reenact", "mouth", "swap")
"""Faces blended into a picture under a mask; the others leave no border."""
