"""Command `deepfake-triton`: run a subcommand, and turn errors into one line and an exit status."""

from __future__ import annotations

import argparse
import importlib
import io
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from deepfake_triton import __version__
from deepfake_triton.console.progress import show_progress
from deepfake_triton.console.terminal import printable
from deepfake_triton.errors import DeepfakeError


@dataclass(frozen=True)
class Subcommand:
    """One subcommand: the module with its `run`, its summary, and the extras of the package that it needs.

    `options_module` declares the options where the module itself cannot be imported without an extra.
    """

    module: str
    summary: str
    extras: tuple[str, ...]
    options_module: str | None = None

    @property
    def description(self) -> str:
        """The summary as a sentence."""
        return f"{self.summary[0].upper()}{self.summary[1:]}."

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""
        importlib.import_module(self.options_module or self.module).configure(parser)

    def run(self, args: argparse.Namespace) -> int:
        """Run it; return the exit status."""
        status: int = importlib.import_module(self.module).run(args)
        return status


# Modules are imported only when their subcommand runs: `--help` costs no torch, and `detect` no ONNX.
SUBCOMMANDS = {
    "export": Subcommand(
        "deepfake_triton.export.command",
        "export a checkpoint to a Triton model repository, with a parity check",
        ("export", "cpu"),
    ),
    "engine": Subcommand(
        "deepfake_triton.export.tensorrt.command",
        "build TensorRT engines from ONNX, or inspect one",
        ("export", "cpu"),
    ),
    "repository": Subcommand(
        "deepfake_triton.commands.repository",
        "list, activate, prune, accept or sign the versions of a model repository",
        ("client",),
    ),
    "serve": Subcommand(
        "deepfake_triton.serving.command",
        "serve a model repository with NVIDIA Triton",
        ("server", "cpu"),
    ),
    "detect": Subcommand(
        "deepfake_triton.client.detect.command",
        "detect deepfakes in videos with a running server",
        ("client",),
        options_module="deepfake_triton.detect_options",
    ),
    "web": Subcommand(
        "deepfake_triton.commands.web",
        "serve a web page, REST and gRPC for video files, with a Triton of its own or beside others",
        ("gateway", "demo", "cpu"),
        options_module="deepfake_triton.commands.web_options",
    ),
    "judge": Subcommand(
        "deepfake_triton.commands.judge",
        "judge videos with a server of its own, and write a report",
        ("gateway", "demo", "cpu"),
    ),
    "dataset": Subcommand(
        "deepfake_triton.training.commands.dataset",
        "index collections of videos, and extract face crops",
        ("train", "cpu"),
    ),
    "train": Subcommand(
        "deepfake_triton.training.commands.train",
        "train a checkpoint on the videos of a manifest; resumes",
        ("train", "cpu"),
    ),
    "evaluate": Subcommand(
        "deepfake_triton.training.commands.evaluate",
        "evaluate a served model on labeled videos",
        ("client", "train"),
    ),
    "calibrate": Subcommand(
        "deepfake_triton.training.commands.calibrate",
        "calibrate the probabilities of a checkpoint on your own videos",
        ("client", "train"),
    ),
    "card": Subcommand(
        "deepfake_triton.training.commands.card",
        "write the model card of a checkpoint",
        ("client", "train"),
    ),
    "forge": Subcommand(
        "deepfake_triton.training.commands.forge",
        "forge a fake counterpart of a real video",
        ("export", "cpu"),
    ),
    "bench": Subcommand(
        "deepfake_triton.benchmarks.command",
        "benchmark a model repository against baselines and the limits of the hardware",
        ("bench", "cpu"),
        options_module="deepfake_triton.benchmarks.options",
    ),
    "capacity": Subcommand(
        "deepfake_triton.capacity.command",
        "plan replicas, GPUs, network and cost from a benchmark, and simulate an autoscaler",
        ("capacity",),
        options_module="deepfake_triton.capacity.options",
    ),
    "demo": Subcommand(
        "deepfake_triton.commands.demo",
        "export, serve and detect on a demo clip, then stop",
        ("demo", "cpu"),
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand; 0 for success, 1 for a failure, 2 for wrong options, 130 when interrupted."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    _fill_closed_streams()
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
        print(f"deepfake-triton: {_install_hint(arguments[0], error)}", file=sys.stderr)
        return 1


def _fill_closed_streams() -> None:
    """Open the null device for streams that the caller closed, as `2>&-` does: otherwise the next file opened
    would get the descriptor of the stream, and its output."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is the stream's own
            os.set_inheritable(descriptor, True)
            setattr(sys, name, os.fdopen(descriptor, mode))


def _run(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="deepfake-triton", description="Deepfake-video inference on Triton."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    subparsers = parser.add_subparsers(dest="subcommand", metavar="COMMAND", required=True)
    for name, subcommand in SUBCOMMANDS.items():
        subparser = subparsers.add_parser(name, help=subcommand.summary, description=subcommand.description)
        if name in arguments[:1]:
            subcommand.configure(subparser)
    args = parser.parse_args(arguments)
    with show_progress():
        return SUBCOMMANDS[args.subcommand].run(args)


def _install_hint(name: str, error: ModuleNotFoundError) -> str:
    from deepfake_triton.host.onnx_runtime import installed_builds

    extras = SUBCOMMANDS[name].extras
    if installed_builds():  # a second one would overwrite its files
        extras = tuple(extra for extra in extras if extra != "cpu")
    return f"{error.name} is not installed: pip install 'deepfake-triton[{','.join(extras)}]'"


if __name__ == "__main__":
    sys.exit(main())
