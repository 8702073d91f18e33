"""What a model repository serves, by the report of its export."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepfake_triton.contracts import deepfake_detector
from deepfake_triton.errors import InputError
from deepfake_triton.export.checkpoint import Checkpoint, checkpoint_from_file
from deepfake_triton.export.default_checkpoint import DEFAULT_CHECKPOINT
from deepfake_triton.export.facts import facts_from_metadata
from deepfake_triton.export.versions import active_version
from deepfake_triton.integrity import REPORT_NAME


@dataclass(frozen=True)
class Exported:
    """The version that a repository serves: from which weights, with which detector, in which form."""

    repository: Path
    checkpoint_sha256: str
    facts: dict[str, Any]
    detector: str
    detector_size: int
    form: str

    def same_weights(self, other: Exported) -> bool:
        """Whether both must give the same answers, but for their precision."""
        mine = (self.checkpoint_sha256, self.facts, self.detector, self.detector_size)
        return mine == (other.checkpoint_sha256, other.facts, other.detector, other.detector_size)


def exported(repository: Path) -> Exported:
    """Read the report of the version that is served. Raises InputError where there is none."""
    path = repository / deepfake_detector().name / str(active_version(repository)) / REPORT_NAME
    try:
        report = json.loads(path.read_text())
        accelerator = report["accelerator"]
        engine = "TensorRT" if report["engine"] == "tensorrt" else "ONNX Runtime"
        runtime = engine if accelerator in (None, "none") else {"openvino": "OpenVINO"}[accelerator]
        return Exported(
            repository,
            report["checkpoint"]["sha256"],
            report["checkpoint"]["facts"],
            report["detector"]["name"],
            report["detector"]["size"],
            f"{report['precision'].upper()}, {runtime}",
        )
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}; export the repository again") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: is no report of an export: {error!r}; export the repository again"
        ) from error


def checkpoint_of(served: Exported, named: Path | None) -> Checkpoint:
    """The weights that a repository was exported from: `named`, or those that ship with the project.

    Raises InputError when they are not the same.
    """
    path = named or DEFAULT_CHECKPOINT
    found = checkpoint_from_file(path, vars(facts_from_metadata(served.facts)))
    if found.sha256 != served.checkpoint_sha256:
        raise InputError(
            f"{path}: sha256 {found.sha256[:12]}, but {served.repository} was exported from "
            f"{served.checkpoint_sha256[:12]}: name its checkpoint with --checkpoint"
        )
    return found
