"""The command `deepfake-triton`: picks a subcommand, and turns errors into one line and an exit status."""

from __future__ import annotations

import argparse
import importlib
import io
import os
import signal
import sys
from collections.abc import Sequence

from deepfake_triton import __version__
from deepfake_triton.errors import DeepfakeError
from deepfake_triton.terminal import printable

# Imported only when chosen: `--help` costs no torch, and `detect` no ONNX.
SUBCOMMANDS = {
    "export": ("deepfake_triton.export.command", "checkpoint to model repository, with proof"),
    "engine": ("deepfake_triton.export.engine_command", "an ONNX file to a TensorRT engine; what one is"),
    "repository": (
        "deepfake_triton.repository_command",
        "a model repository: list, activate, prune, accept, sign",
    ),
    "serve": ("deepfake_triton.serving.command", "serve a model repository with NVIDIA Triton"),
    "detect": ("deepfake_triton.client.command", "ask a server for the verdict on videos"),
    "dataset": ("deepfake_triton.training.command", "collections on disk to a manifest and face crops"),
    "train": ("deepfake_triton.training.train_command", "a manifest to a checkpoint; resumes"),
    "evaluate": ("deepfake_triton.training.evaluate_command", "figures on labelled videos, as served"),
    "calibrate": ("deepfake_triton.training.calibrate_command", "probabilities that fit one's own videos"),
    "card": ("deepfake_triton.training.card_command", "the model card of a checkpoint"),
    "forge": ("deepfake_triton.training.forge_command", "a forged twin of a video"),
    "bench": (
        "deepfake_triton.benchmarks.command",
        "where the time goes, and against whom",
    ),
    "demo": ("deepfake_triton.demo", "export, serve, judge a real clip, stop"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand; 0 for success, 1 for a failure, 2 for wrong options, 130 when interrupted."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # file names need not be UTF-8
            stream.reconfigure(errors="backslashreplace")
    try:
        return _run(arguments)
    except DeepfakeError as error:
        print(f"deepfake-triton: {printable(str(error))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("deepfake-triton: interrupted", file=sys.stderr)
        return 128 + signal.SIGINT
    except BrokenPipeError:  # whoever read our output, such as head, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except ModuleNotFoundError as error:
        print(f"deepfake-triton: {_what_to_install(arguments[0], error)}", file=sys.stderr)
        return 1


def _run(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="deepfake-triton", description="Deepfake-video inference on Triton."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    subparsers = parser.add_subparsers(dest="subcommand", metavar="COMMAND", required=True)
    for name, (module, summary) in SUBCOMMANDS.items():
        subparser = subparsers.add_parser(
            name, help=summary, description=f"{summary[0].upper()}{summary[1:]}."
        )
        if name in arguments[:1]:
            importlib.import_module(module).configure(subparser)
    args = parser.parse_args(arguments)
    status: int = importlib.import_module(SUBCOMMANDS[args.subcommand][0]).run(args)
    return status


def _what_to_install(subcommand: str, error: ModuleNotFoundError) -> str:
    extras = {
        "export": "export,cpu",
        "engine": "export,cpu,tensorrt-rtx",
        "repository": "export",
        "serve": "server,cpu",
        "train": "train",
        "evaluate": "train,client",
        "calibrate": "train",
        "card": "train",
        "forge": "train",
        "bench": "bench,cpu",
        "demo": "demo",
    }.get(subcommand, "client")
    return f"{error.name} is not installed: pip install 'deepfake-triton[{extras}]'"


if __name__ == "__main__":
    sys.exit(main())
