"""`deepfake-triton demo`: export, serve, judge a clip of a real face and its fake counterpart, stop.

Nothing stays running.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from deepfake_triton import contracts
from deepfake_triton.commands.default_repository import code_fingerprint
from deepfake_triton.errors import VideoNotFound
from deepfake_triton.export.arguments import AUTO, add_precision_options, precision_from, require_no_engine
from deepfake_triton.export.options import ExportOptions, Fp32, OnnxRuntimeEngine
from deepfake_triton.repository.export_report import REPORT_NAME, read_report

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
    add_precision_options(parser)
    parser.add_argument(
        "--video",
        type=Path,
        metavar="VIDEO",
        help="video to judge beside its fake counterpart (default: the demo's clip, made from one still)",
    )


def run(args: argparse.Namespace) -> int:
    """Run the whole path on one clip."""
    from deepfake_triton.client import DeepfakeClient
    from deepfake_triton.client.rendering.formatting import verdict_text
    from deepfake_triton.console.logs import warnings_on_stderr
    from deepfake_triton.export.demo_video import DEMO_CLIP, DEMO_NOTICE, demo_clip
    from deepfake_triton.serving.server import ServerOptions, TritonServer

    video = args.video or demo_clip()
    if video is None:
        raise VideoNotFound(
            f"the demo's clip is not installed: {DEMO_CLIP} is missing, which the image for serving leaves "
            "out; name a --video, or install the whole package: pip install --force-reinstall --no-deps "
            "deepfake-triton"
        )
    if video == DEMO_CLIP:
        _say(f"clip     {video.name}, made from one still, not filmed: {DEMO_NOTICE}")
    _say(f"export   {args.repository}")
    _export_unless_current(args, demo_clip() or video)
    with tempfile.TemporaryDirectory(prefix="deepfake-triton-") as folder:
        fake = Path(folder) / f"{video.stem}-forged.mp4"
        _say(f"forge    {fake.name}")
        _say(f"         {_forge(video, fake)}")
        _say("serve    starting Triton")
        with (
            warnings_on_stderr("deepfake_triton.serving"),
            TritonServer(ServerOptions.on_free_ports(args.repository)) as server,
        ):
            _say(f"         ready at {server.url}")
            with DeepfakeClient(server.url) as client:
                for path in (video, fake):
                    _say(f"detect   {path.name}")
                    print(verdict_text(replace(client.detect(path), video=path.name)), flush=True)
    _say("stop     the server has ended")
    return 0


def _forge(video: Path, fake: Path) -> str:
    """Write the fake counterpart as `deepfake-triton forge` does by default, and describe it."""
    import numpy as np

    from deepfake_triton.models.detectors.build import load_default_detector
    from deepfake_triton.training.commands.forge import DEFAULT_KIND, DEFAULT_SEED, DEFAULT_STRENGTH
    from deepfake_triton.training.forgery.forge import forge_video
    from deepfake_triton.training.forgery.recipe import sample_recipe

    recipe = sample_recipe(np.random.default_rng(DEFAULT_SEED), DEFAULT_STRENGTH, DEFAULT_KIND)
    detector = load_default_detector(contracts.DEFAULT_DETECTOR_SIZE)
    forged = forge_video(video, fake, recipe, detector=detector)
    return f"{DEFAULT_KIND}, {forged.forged} of {forged.frames} frames"


def _export_unless_current(args: argparse.Namespace, clip: Path) -> None:
    """Export as the options say, unless the same code and options have; INT8 is calibrated on the faces of
    `clip`."""
    from deepfake_triton.export.pipeline import export
    from deepfake_triton.export.selection import candidates_for_cpu

    repository: Path = args.repository
    is_auto, is_int8 = args.precision == AUTO, args.precision == "int8"
    require_no_engine(args)
    options = ExportOptions(
        output=repository,
        precision=Fp32() if is_auto else precision_from(args.precision, (clip,) if is_int8 else ()),
        engine=OnnxRuntimeEngine(openvino=args.accelerator == "openvino"),
    )
    candidates = candidates_for_cpu(options) if is_auto else (options,)
    stamp, provenance = repository / _STAMP, f"{code_fingerprint()} {candidates}"
    if stamp.is_file():
        report = read_report(repository / REPORT_NAME)
        if stamp.read_text() == f"{provenance} {report.export_sha256}":
            _say(f"         version {report.version} is there already")
            return
    engine = ", ".join(filter(None, (args.precision, args.accelerator)))
    calibrated = f", calibrated on the faces of {clip.name}" if is_int8 else ""
    _say(f"         {engine}{calibrated}")
    report = export(*candidates)
    stamp.write_text(f"{provenance} {report.export_sha256}")
    if is_auto:
        _say(
            f"         {', '.join(filter(None, (report.precision, report.accelerator)))} is the fastest here"
        )
    _say(f"         wrote version {report.version}, parity checked on {report.parity.crops}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
