"""Integrity of a repository's versions: their files are those that the export wrote."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from deepfake_triton.contracts import deepfake_detector
from deepfake_triton.errors import InvalidRepository
from deepfake_triton.repository.export_report import REPORT_NAME, read_report
from deepfake_triton.repository.files import sha256_of_regular_file


def file_hashes(files: Mapping[str, Path]) -> dict[str, str]:
    """Return the SHA-256 of each file, by its name in the version's folder. Raises InvalidRepository for one
    that cannot be read."""
    return {name: sha256_of_regular_file(path) for name, path in files.items()}


def require_unchanged(repository: Path, version: int | None = None) -> None:
    """Compare the graphs and engines of a version (None: of all) with its report.

    Raises InvalidRepository, naming the first file that is missing or differs. A version without a report,
    which no export of this project wrote, is not checked.
    """
    pattern = f"{'*' if version is None else version}/{REPORT_NAME}"
    for path in sorted((repository / deepfake_detector().name).glob(pattern)):
        for model, report in read_report(path).models.items():
            for name, digest in report.files.items():
                _require_digest(repository / model / path.parent.name / name, digest)


def cpu_warnings(repository: Path, *, exact: bool, has_bf16: bool) -> list[str]:
    """Return warnings for a precision that this CPU computes otherwise than the exporting one; `exact`:
    whether it adds products of 8-bit numbers exactly."""
    try:
        report = read_report(repository / REPORT_NAME)
    except InvalidRepository:
        return []
    if report.precision == "bf16" and not has_bf16:
        return [
            f"{repository}: exported for BF16, which this CPU has not: the extractor is computed in FP32, in "
            "more time; probabilities then differ by what export_report.json says"
        ]
    weight_bits = 8 if report.weight_bits is None else report.weight_bits
    if exact or report.engine != "onnx" or report.precision != "int8" or weight_bits < 8:
        return []
    return [
        f"{repository}: INT8 with 8-bit weights, exported where the CPU has VNNI; this one has not, and "
        "verdicts will differ: export again on a machine of this kind"
    ]


def _require_digest(path: Path, expected: str) -> None:
    if not path.is_file():
        raise InvalidRepository(f"{path}: is missing; export the version again")
    if (found := sha256_of_regular_file(path)) != expected:
        raise InvalidRepository(
            f"{path}: sha256 {found[:12]}, but its export wrote {expected[:12]}: it changed since; "
            "export the version again"
        )
