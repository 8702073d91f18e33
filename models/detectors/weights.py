"""Weights of a detector: from this package, from a file that the user names, or from an InsightFace pack."""

from __future__ import annotations

import logging
from pathlib import Path

from deepfake_triton.errors import DetectorError

_log = logging.getLogger(__name__)

CENTERFACE = Path(__file__).with_name("centerface") / "centerface.onnx"
"""CenterFace's published weights (MIT); `LICENSE.txt` beside the file names their origin."""
EXPECTED = "centerface, centerface:PATH, yunet:PATH, scrfd:PATH or insightface:PACK"
INSIGHTFACE_LICENSE = (
    "InsightFace's published weights are for non-commercial research only (https://github.com/deepinsight/"
    "insightface#license); using them for anything else needs a license of their authors"
)


def resolve_detector(named: str) -> tuple[str, Path]:
    """Return the kind of graph and the weights file that `--detector` names.

    Logs a warning about the license of InsightFace's weights. Raises DetectorError.
    """
    kind, _, rest = named.partition(":")
    if kind == "centerface":
        return kind, Path(rest) if rest else find_centerface()
    if kind in ("yunet", "scrfd") and rest:
        if kind == "scrfd":
            _log.warning(INSIGHTFACE_LICENSE)
        return kind, Path(rest)
    if kind == "insightface" and rest:
        return "scrfd", _from_pack(rest)
    raise DetectorError(f"--detector: got {named!r}, expected {EXPECTED}")


def find_centerface() -> Path:
    """Return the path of CenterFace's weights in this package. Raises DetectorError without them."""
    if not CENTERFACE.is_file():
        raise DetectorError(
            f"the default detector's weights are not installed: {CENTERFACE} is missing, which the image for "
            "serving leaves out; export on a machine where the whole package is installed (pip install "
            "--force-reinstall --no-deps deepfake-triton), or name a file with --detector centerface:PATH"
        )
    return CENTERFACE


def _from_pack(pack: str) -> Path:
    """Return the detector of a pack such as `buffalo_l`, downloaded by the package `insightface`."""
    _log.warning(INSIGHTFACE_LICENSE)
    store = Path.home() / ".insightface" / "models" / pack
    if not store.is_dir():
        _fetch(pack)
    found = sorted(store.rglob("det_*.onnx")) + sorted(store.rglob("scrfd*.onnx"))
    if not found:
        raise DetectorError(
            f"--detector insightface:{pack}: no det_*.onnx in {store}; known packs are buffalo_l, buffalo_m, "
            "buffalo_s and antelopev2"
        )
    return found[0]


def _fetch(pack: str) -> None:
    try:
        from insightface.utils import ensure_available
    except ImportError as error:
        raise DetectorError(
            f"--detector insightface:{pack}: the package insightface is not installed: pip install it, or "
            f"put the pack's files into ~/.insightface/models/{pack}, or name one: --detector scrfd:PATH"
        ) from error
    try:
        ensure_available("models", pack)
    except (OSError, RuntimeError, ValueError) as error:  # what its downloader raises without a network
        raise DetectorError(
            f"--detector insightface:{pack}: cannot be fetched ({error}); on a machine with a network, run "
            f"this once and copy ~/.insightface/models/{pack} here, or name a file with --detector scrfd:PATH"
        ) from error
