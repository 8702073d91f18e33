"""Deepfake-video inference on NVIDIA Triton: export a checkpoint, serve it, and get verdicts on videos.

>>> from deepfake_triton import DeepfakeClient
>>> with DeepfakeClient("localhost:8001", timeout_s=30) as client:  # doctest: +SKIP
...     verdict = client.detect("interview.mp4")
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = ["AsyncDeepfakeClient", "DeepfakeClient", "__version__"]

__version__ = "0.1.0"

if TYPE_CHECKING:
    from deepfake_triton.client import AsyncDeepfakeClient, DeepfakeClient
else:  # imported only when used (PEP 562): every other part does without OpenCV, PyAV and gRPC

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from deepfake_triton import client

        return getattr(client, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
