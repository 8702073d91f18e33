"""Options of `deepfake-triton detect`, apart from the command: its help needs no extra."""

from __future__ import annotations

import argparse
from pathlib import Path

from deepfake_triton.cli_types import (
    addresses,
    existing_file,
    integer,
    non_negative_number,
    path_with_suffix,
    seconds_within_a_day,
)
from deepfake_triton.client_defaults import (
    DEFAULT_TIMEOUT_S,
    DEFAULT_URL,
    MAX_BLOCKINESS,
    MIN_FACE_PX,
    MIN_FRAMES,
    MIN_SHARPNESS,
    PLOT_SUFFIXES,
)
from deepfake_triton.contracts import DEFAULT_FRAMES, JPEG_QUALITY, MAX_FRAMES, SHARED_MEMORY_KEY_VARIABLE
from deepfake_triton.preprocessing.video.sampling import Sampling

TOKEN_VARIABLE = "DEEPFAKE_TRITON_TOKEN"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    _input_options(parser)
    _request_options(parser)
    _output_options(parser)
    _evidence_options(parser)
    _provenance_options(parser)
    security_options(parser)


def _input_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "videos",
        nargs="+",
        metavar="VIDEO",
        help="video files, folders of them, patterns such as 'clips/**/*.mp4', or lists: CSV with a column "
        "path, or JSON lines with a key path",
    )
    parser.add_argument(
        "--frames",
        type=integer(1, MAX_FRAMES),
        default=DEFAULT_FRAMES,
        metavar="N",
        help=f"frames of each window, 1…{MAX_FRAMES} (default: %(default)s)",
    )
    coverage = parser.add_mutually_exclusive_group()
    coverage.add_argument(
        "--windows",
        type=integer(1),
        metavar="N",
        help="number of windows, spread over the whole video (default: one, at its start)",
    )
    coverage.add_argument(
        "--every", type=seconds_within_a_day, metavar="SECONDS", help="one window every SECONDS of the video"
    )
    parser.add_argument(
        "--sampling",
        choices=[sampling.value for sampling in Sampling],
        default=Sampling.CONSECUTIVE.value,
        help="frames: consecutive from the start (default), or uniform over the video",
    )
    parser.add_argument(
        "--operating-point",
        metavar="NAME",
        help="name of the model's thresholds for FAKE and REAL: balanced (default), conservative, …",
    )


def _request_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--url",
        type=addresses,
        default=DEFAULT_URL,
        metavar="HOST:PORT[,…]",
        help="gRPC addresses, tried round-robin, with failover (default: %(default)s)",
    )
    parser.add_argument(
        "--timeout",
        type=seconds_within_a_day,
        default=DEFAULT_TIMEOUT_S,
        metavar="SECONDS",
        help="time-out of one video, retries included (default: %(default)g)",
    )
    parser.add_argument(
        "--attempts",
        type=integer(1),
        metavar="N",
        help="maximum attempts of a request, when servers are unreachable or overloaded (default: as "
        "--timeout allows)",
    )
    parser.add_argument(
        "--attempt-timeout",
        type=seconds_within_a_day,
        metavar="SECONDS",
        help="time after which a silent server counts as failed (default: a share of --timeout for each of "
        "several servers)",
    )
    parser.add_argument(
        "--log",
        choices=("text", "json"),
        help="log every request to stderr, with the id that the server's log shows",
    )
    parser.add_argument(
        "--transport",
        choices=("auto", "grpc", "shared-memory", "jpeg"),
        default="auto",
        help="how frames reach the server: shared-memory on one host, grpc, or jpeg for slow networks "
        "(default: auto, one of the first two)",
    )
    parser.add_argument(
        "--jpeg-quality",
        type=integer(1, 100),
        default=JPEG_QUALITY,
        metavar="1…100",
        help="quality of --transport jpeg (default: %(default)s)",
    )
    parser.add_argument(
        "--jobs", type=integer(1), default=1, metavar="N", help="videos at once (default: %(default)s)"
    )


def _output_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object per video, each on a line, to stdout"
    )
    written = parser.add_argument_group(
        "files to write", "With more than one video, {name} stands for its name, {number} for its position."
    )
    written.add_argument(
        "--output",
        type=Path,
        metavar="FILE.jsonl",
        help="verdicts as JSON lines, written as they come; reruns resume where they stopped, and repeat "
        "what another model, other options or a changed file would change",
    )
    written.add_argument(
        "--plot",
        type=path_with_suffix(*PLOT_SUFFIXES),
        metavar="FILE.png|svg",
        help="each person's probability over time",
    )
    written.add_argument(
        "--overlay",
        type=path_with_suffix(".mp4"),
        metavar="FILE.mp4",
        help="the video with boxes and probabilities",
    )


def _evidence_options(parser: argparse.ArgumentParser) -> None:
    evidence = parser.add_argument_group("what a face must show, or its verdict is INCONCLUSIVE")
    evidence.add_argument(
        "--min-frames",
        type=integer(1),
        default=MIN_FRAMES,
        metavar="N",
        help="minimum number of frames that show it (default: %(default)s)",
    )
    evidence.add_argument(
        "--min-face",
        type=non_negative_number,
        default=MIN_FACE_PX,
        metavar="PX",
        help="minimum of its box's longer side, in frames scaled to 640 px (default: %(default)g)",
    )
    evidence.add_argument(
        "--min-sharpness",
        type=non_negative_number,
        default=MIN_SHARPNESS,
        metavar="V",
        help="minimum sharpness: variance of the Laplacian of its crop of 112 px (default: %(default)g)",
    )
    evidence.add_argument(
        "--max-blockiness",
        type=non_negative_number,
        default=MAX_BLOCKINESS,
        metavar="V",
        help="maximum visibility of compression blocks: 0.4 to 0.54 in most faces (default: %(default)g)",
    )


def _provenance_options(parser: argparse.ArgumentParser) -> None:
    provenance = parser.add_argument_group(
        "Content Credentials (C2PA)",
        "Shown beside a verdict, which they never change; read by the extra provenance.",
    )
    provenance.add_argument(
        "--c2pa-trust",
        type=existing_file,
        metavar="PEM",
        help="certificate authorities whose credentials are trusted (default: none: every signer is unknown)",
    )


def security_options(
    parser: argparse.ArgumentParser, prefix: str = "", title: str = "encryption and permission"
) -> None:
    """Declare the options that `connection_from` in `client.detect.connection` reads; `prefix` such as
    `triton-` stands before each name."""
    secure = parser.add_argument_group(
        title,
        f"A bearer token is taken from the environment variable {TOKEN_VARIABLE}, the key to a server's "
        f"shared memory from {SHARED_MEMORY_KEY_VARIABLE}.",
    )
    secure.add_argument(
        f"--{prefix}tls", action="store_true", help="encrypt, trusting this machine's certificate authorities"
    )
    secure.add_argument(
        f"--{prefix}ca",
        type=existing_file,
        metavar="PEM",
        help="encrypt, trusting these certificate authorities",
    )
    secure.add_argument(
        f"--{prefix}key",
        type=existing_file,
        metavar="PEM",
        help="private key of the client, for mutual TLS",
    )
    secure.add_argument(
        f"--{prefix}certificate",
        type=existing_file,
        metavar="PEM",
        help=f"certificate chain of --{prefix}key",
    )
