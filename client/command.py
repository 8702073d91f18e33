"""`deepfake-triton detect`: verdicts on videos, as text or JSON lines."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from deepfake_triton.client.attempts import RetryPolicy
from deepfake_triton.client.client import DeepfakeClient
from deepfake_triton.client.connection_options import ConnectionOptions
from deepfake_triton.client.evidence import EvidenceRule
from deepfake_triton.client.rules import DEFAULT_TIMEOUT_S, DEFAULT_URL
from deepfake_triton.client.servers import urls_from_text
from deepfake_triton.client.text import verdict_text
from deepfake_triton.client.verdict import failure_as_dict
from deepfake_triton.contracts import DEFAULT_FRAMES, MAX_FRAMES
from deepfake_triton.errors import DeepfakeError, ServerUnreachable
from deepfake_triton.preprocessing.sampling import FrameSelection, Sampling

TOKEN_VARIABLE = "DEEPFAKE_TRITON_TOKEN"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("videos", nargs="+", metavar="VIDEO", help="video files")
    parser.add_argument(
        "--url",
        type=_addresses,
        default=DEFAULT_URL,
        metavar="HOST:PORT[,…]",
        help="gRPC addresses; several are asked in turn, and for one another when one fails (default: "
        "%(default)s)",
    )
    parser.add_argument(
        "--json", action="store_true", help="one JSON object a line for each video, on stdout"
    )
    parser.add_argument(
        "--frames",
        type=_frames,
        default=DEFAULT_FRAMES,
        metavar="N",
        help=f"frames of the video to judge, 1…{MAX_FRAMES} (default: %(default)s)",
    )
    parser.add_argument(
        "--sampling",
        choices=[sampling.value for sampling in Sampling],
        default=Sampling.CONSECUTIVE.value,
        help="consecutive from the start (default), or uniform over the video",
    )
    parser.add_argument(
        "--operating-point",
        metavar="NAME",
        help="the model's threshold for FAKE, such as balanced (default) or conservative",
    )
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=DEFAULT_TIMEOUT_S,
        metavar="SECONDS",
        help="for one video, retries included (default: %(default)g)",
    )
    parser.add_argument(
        "--attempts",
        type=_count,
        default=RetryPolicy.attempts,
        metavar="N",
        help="how often a request is asked at most, when a server is gone or full (default: %(default)s)",
    )
    parser.add_argument(
        "--attempt-timeout",
        type=_seconds,
        metavar="SECONDS",
        help="a server that says nothing for so long counts as gone (default: --timeout)",
    )
    evidence = parser.add_argument_group("what a face has to show, or the verdict is INCONCLUSIVE")
    evidence.add_argument(
        "--min-frames",
        type=_count,
        default=EvidenceRule.min_frames,
        metavar="N",
        help="in which it is seen (default: %(default)s)",
    )
    evidence.add_argument(
        "--min-face",
        type=float,
        default=EvidenceRule.min_face_px,
        metavar="PX",
        help="of its box's longer side, in frames scaled to 640 px (default: %(default)g)",
    )
    evidence.add_argument(
        "--min-sharpness",
        type=float,
        default=EvidenceRule.min_sharpness,
        metavar="V",
        help="variance of the Laplacian of its crop of 112 px (default: %(default)g)",
    )
    secure = parser.add_argument_group(
        "encryption", f"A bearer token is taken from the environment variable {TOKEN_VARIABLE}."
    )
    secure.add_argument("--tls", action="store_true", help="encrypt, trusting this machine's authorities")
    secure.add_argument("--ca", type=_file, metavar="PEM", help="encrypt, trusting these authorities")
    secure.add_argument("--key", type=_file, metavar="PEM", help="one's own private key, for mutual TLS")
    secure.add_argument(
        "--certificate", type=_file, metavar="PEM", help="the certificate chain that it is of"
    )


def run(args: argparse.Namespace) -> int:
    """Judge every video; 0 when each got a verdict, 1 when one could not be processed."""
    from tqdm import tqdm

    selection = FrameSelection(args.frames, Sampling(args.sampling))
    failures = 0
    with (
        _client(args) as client,
        tqdm(total=2 * len(args.videos), unit="stage", leave=False, disable=None, file=sys.stderr) as bar,
    ):
        for position, video in enumerate(args.videos):

            def show(stage: str, done: int = 2 * position, name: str = Path(video).name) -> None:
                bar.set_description(f"{name}: {stage}", refresh=False)
                bar.update(done + (stage == "infer") - bar.n)

            failures += not _judged(client, video, selection, args.json, show)
    return 1 if failures else 0


def _client(args: argparse.Namespace) -> DeepfakeClient:
    return DeepfakeClient(
        args.url,
        timeout_s=args.timeout,
        operating_point=args.operating_point,
        retry=RetryPolicy(attempts=args.attempts, attempt_timeout_s=args.attempt_timeout),
        connection=ConnectionOptions(
            tls=args.tls,
            root_certificates=args.ca,
            private_key=args.key,
            certificate_chain=args.certificate,
            token=os.environ.get(TOKEN_VARIABLE) or None,
        ),
        evidence=EvidenceRule(args.min_frames, args.min_face, args.min_sharpness),
    )


def _judged(
    client: DeepfakeClient, video: str, selection: FrameSelection, as_json: bool, show: object
) -> bool:
    try:
        verdict = client.detect(video, selection, show)  # type: ignore[arg-type]
    except DeepfakeError as error:
        if as_json:
            _print(json.dumps(failure_as_dict(video, error, client.known_model)))
        _warn(str(error))
        return False
    if verdict.fault:
        _warn(
            f"{video}: truncated: {verdict.fault}; judged by the {verdict.frames_decoded} frames that decode"
        )
    _print(json.dumps(verdict.as_dict()) if as_json else verdict_text(verdict))
    return True


def _print(text: str) -> None:
    from tqdm import tqdm

    with tqdm.external_write_mode(file=sys.stdout):
        print(text, flush=True)


def _warn(text: str) -> None:
    from tqdm import tqdm

    with tqdm.external_write_mode(file=sys.stderr):
        print(f"deepfake-triton: {text}", file=sys.stderr, flush=True)


def _frames(text: str) -> int:
    number = int(text)
    if not 1 <= number <= MAX_FRAMES:
        raise argparse.ArgumentTypeError(f"got {number}, expected 1…{MAX_FRAMES}")
    return number


def _addresses(text: str) -> tuple[str, ...]:
    try:
        return urls_from_text(text)
    except ServerUnreachable as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _file(text: str) -> Path:
    path = Path(text)
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"{text}: no such file")
    return path


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"got {number}, expected 1 or more")
    return number


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < 86_400:
        raise argparse.ArgumentTypeError(f"got {text}, expected more than 0 and less than a day")
    return seconds
