"""`python -m deepfake_triton.benchmarks.int8_libraries`: compare INT8 of the libraries on labeled clips."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from deepfake_triton.benchmarks.int8_libraries.builders import BUILDERS
from deepfake_triton.benchmarks.int8_libraries.comparison import (
    CachedRunner,
    compare_library,
    results_table,
)
from deepfake_triton.benchmarks.int8_libraries.workspace import Workspace
from deepfake_triton.benchmarks.measure.environment import read_environment
from deepfake_triton.cli_types import comma_separated, integer
from deepfake_triton.export.options import DetectorOptions
from deepfake_triton.export.parity.accuracy_gate import GateClips, read_gate_clips
from deepfake_triton.export.pipeline import build_fp32_graphs
from deepfake_triton.export.quantization.calibration import collect_calibration_faces
from deepfake_triton.models.default_checkpoint import default_checkpoint
from deepfake_triton.models.runtimes.base import Runner
from deepfake_triton.models.runtimes.onnx_runner import OnnxRunner
from deepfake_triton.models.stages import Stages


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparison with the default weights, and print its table after each library."""
    args = _parser().parse_args(arguments)
    args.output.mkdir(parents=True, exist_ok=True)
    workspace, checkpoint = Workspace(args.output), default_checkpoint()
    fp32 = build_fp32_graphs(checkpoint, DetectorOptions(), args.output)
    workspace.name_nodes()
    reference: Stages[Runner] = fp32.map(lambda path: CachedRunner(OnnxRunner(path)))
    faces = collect_calibration_faces(
        args.calibration, reference.detector, checkpoint.metadata.crop_rule, samples=args.samples, seed=0
    )
    workspace.save_calibration(faces)
    clips = choose_clips(read_gate_clips(args.manifest), count=args.clips)
    environment = read_environment()
    print(environment.summary, flush=True)
    results = []
    for library in args.libraries:
        result = compare_library(
            library,
            workspace,
            clips,
            metadata=checkpoint.metadata,
            reference=reference,
            timeout_s=args.timeout,
        )
        results.append(result)
        print(results_table(results), flush=True)
        content = {
            "environment": environment.to_json(),
            "results": [result.to_json() for result in results],
        }
        (args.output / "int8_libraries.json").write_text(json.dumps(content, indent=2) + "\n")
    return 0


def choose_clips(clips: GateClips, *, count: int) -> GateClips:
    """Return about `count` of the clips: all of some people, spread over the manifest."""
    people = sorted({row.identity for row in clips.rows})
    chosen = set(people[:: max(1, len(clips.rows) // count)])
    return GateClips(clips.manifest, [row for row in clips.rows if row.identity in chosen])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m deepfake_triton.benchmarks.int8_libraries")
    parser.add_argument(
        "manifest", type=Path, metavar="CSV", help="labeled clips of people not calibrated on"
    )
    parser.add_argument(
        "--calibration",
        type=Path,
        nargs="+",
        required=True,
        metavar="PATH",
        help="videos, photos, or folders of them",
    )
    parser.add_argument("--samples", type=integer(32), default=128, help="calibration faces (%(default)s)")
    parser.add_argument(
        "--clips", type=integer(2), default=48, help="approximate number of clips (default: %(default)s)"
    )
    parser.add_argument(
        "--libraries", type=comma_separated(str), default=tuple(BUILDERS), help=", ".join(BUILDERS)
    )
    parser.add_argument("--timeout", type=float, default=3600, help="seconds for a build (%(default)s)")
    parser.add_argument("--output", type=Path, default=Path("build/int8_libraries"), metavar="DIR")
    return parser


if __name__ == "__main__":
    sys.exit(main())
