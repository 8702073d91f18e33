"""Whether the files of a model repository are still those that its export wrote."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from deepfake_triton.contracts import deepfake_detector
from deepfake_triton.errors import InvalidRepository
from deepfake_triton.repository_files import sha256_of

REPORT_NAME = "export_report.json"


def file_hashes(files: Mapping[str, Path]) -> dict[str, str]:
    """SHA-256 of each file, by its name in the version's folder. Raises InvalidRepository for one that cannot
    be read."""
    return {name: sha256_of(path) for name, path in files.items()}


def require_unchanged(repository: Path, version: int | None = None) -> None:
    """Compare the graphs and engines of a version (None: of all) with what its report says of them.

    Raises InvalidRepository, naming the first file that is missing or another. A version without a report,
    which no export of ours wrote, is not looked at.
    """
    pattern = f"{'*' if version is None else version}/{REPORT_NAME}"
    for report in sorted((repository / deepfake_detector().name).glob(pattern)):
        folder = report.parent.name
        try:
            models = json.loads(report.read_text()).get("models", {})
            expected = {
                repository / model / folder / name: digest
                for model, values in models.items()
                for name, digest in values["files"].items()
            }
            for path, digest in expected.items():
                if not path.is_file():
                    raise InvalidRepository(f"{path}: is missing; export the version again")
                if (found := sha256_of(path)) != digest:
                    raise InvalidRepository(
                        f"{path}: sha256 {found[:12]}, but its export wrote {digest[:12]}: it changed since; "
                        "export the version again"
                    )
        except OSError as error:
            raise InvalidRepository(f"{error.filename}: cannot be read: {error.strerror}") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidRepository(f"{report}: is no report of an export: {error!r}") from error


def warnings_about(repository: Path, exact: bool) -> list[str]:
    """What its operator should know; `exact`: whether this CPU adds products of 8-bit numbers exactly."""
    report = repository / REPORT_NAME
    try:
        values = json.loads(report.read_text())
    except (OSError, ValueError):
        return []
    if exact or values.get("engine") != "onnx" or values.get("precision") != "int8":
        return []
    if values.get("weight_bits", 8) < 8:
        return []
    return [
        f"{repository}: INT8 with 8-bit weights, exported where the CPU has VNNI; this one has not, and "
        "verdicts will differ: export again on a machine of this kind"
    ]
