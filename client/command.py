"""`deepfake-triton detect`: verdicts on videos, as text or JSON lines."""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from contextvars import copy_context
from pathlib import Path

from deepfake_triton.client.attempts import RetryPolicy
from deepfake_triton.client.client import DeepfakeClient
from deepfake_triton.client.connection_options import ConnectionOptions
from deepfake_triton.client.evidence import EvidenceRule
from deepfake_triton.client.inputs import named_videos
from deepfake_triton.client.request_log import LOGGER, JsonLines
from deepfake_triton.client.results import ResultFile
from deepfake_triton.client.rules import DEFAULT_TIMEOUT_S, DEFAULT_URL
from deepfake_triton.client.servers import urls_from_text
from deepfake_triton.client.timeline_plot import FORMATS
from deepfake_triton.client.tracing import trace_context
from deepfake_triton.client.transport import Transport
from deepfake_triton.client.video_judge import Outcome, VideoJudge
from deepfake_triton.contracts import DEFAULT_FRAMES, JPEG_QUALITY, MAX_FRAMES, SHARED_MEMORY_KEY_VARIABLE
from deepfake_triton.errors import PermissionDenied, ServerUnreachable
from deepfake_triton.preprocessing.sampling import FrameSelection, Sampling
from deepfake_triton.terminal import printable

TOKEN_VARIABLE = "DEEPFAKE_TRITON_TOKEN"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "videos",
        nargs="+",
        metavar="VIDEO",
        help="video files, folders of them, patterns such as 'clips/**/*.mp4', or lists: CSV with a column "
        "path, or JSON lines with a key path",
    )
    parser.add_argument(
        "--url",
        type=_addresses,
        default=DEFAULT_URL,
        metavar="HOST:PORT[,…]",
        help="gRPC addresses: round-robin, and another one when one fails (default: %(default)s)",
    )
    parser.add_argument(
        "--json", action="store_true", help="one JSON object a line for each video, on stdout"
    )
    parser.add_argument(
        "--frames",
        type=_frames,
        default=DEFAULT_FRAMES,
        metavar="N",
        help=f"frames of the video, or of each window, to judge, 1…{MAX_FRAMES} (default: %(default)s)",
    )
    coverage = parser.add_mutually_exclusive_group()
    coverage.add_argument(
        "--windows",
        type=_count,
        metavar="N",
        help="judge so many windows, spread over the whole video (default: one, at its start)",
    )
    coverage.add_argument(
        "--every", type=_seconds, metavar="SECONDS", help="judge a window every so many seconds"
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
        metavar="N",
        help="attempts of a request at most, when a server is gone or full (default: as --timeout allows)",
    )
    parser.add_argument(
        "--attempt-timeout",
        type=_seconds,
        metavar="SECONDS",
        help="a server that says nothing for so long counts as gone (default: of several servers, each gets "
        "a share of --timeout)",
    )
    parser.add_argument(
        "--log",
        choices=("text", "json"),
        help="say on stderr what became of each request, with the id that the server's log shows",
    )
    parser.add_argument(
        "--transport",
        choices=[transport.value for transport in Transport],
        default=Transport.AUTO.value,
        help="how frames reach the server: shared-memory on one host, grpc, or jpeg for slow networks "
        "(default: auto, one of the first two)",
    )
    parser.add_argument(
        "--jpeg-quality",
        type=_percent,
        default=JPEG_QUALITY,
        metavar="1…100",
        help="of --transport jpeg (default: %(default)s)",
    )
    parser.add_argument(
        "--jobs", type=_count, default=1, metavar="N", help="videos at once (default: %(default)s)"
    )
    written = parser.add_argument_group(
        "files to write", "With more than one video, {name} stands for its name, {number} for its place."
    )
    written.add_argument(
        "--output",
        type=Path,
        metavar="FILE.jsonl",
        help="verdicts as JSON lines, each when it is there; a video that has one in it is not judged again, "
        "so that the same command goes on after an interruption",
    )
    written.add_argument(
        "--plot", type=_plot, metavar="FILE.png|svg", help="each person's probability over time"
    )
    written.add_argument(
        "--overlay", type=_overlay, metavar="FILE.mp4", help="the video with boxes and probabilities"
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
        type=_measure,
        default=EvidenceRule.min_face_px,
        metavar="PX",
        help="of its box's longer side, in frames scaled to 640 px (default: %(default)g)",
    )
    evidence.add_argument(
        "--min-sharpness",
        type=_measure,
        default=EvidenceRule.min_sharpness,
        metavar="V",
        help="variance of the Laplacian of its crop of 112 px (default: %(default)g)",
    )
    secure = parser.add_argument_group(
        "encryption and permission",
        f"A bearer token is taken from the environment variable {TOKEN_VARIABLE}, the key to a server's "
        f"shared memory from {SHARED_MEMORY_KEY_VARIABLE}.",
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

    if args.sampling != Sampling.CONSECUTIVE.value and (args.windows or args.every):
        return _wrong_option("--windows and --every judge consecutive frames; leave --sampling out")
    if bool(args.key) != bool(args.certificate):
        return _wrong_option("--key and --certificate belong together; name both")
    try:
        connection = _connection(args)
    except PermissionDenied as error:
        return _wrong_option(str(error))
    videos = named_videos(args.videos)
    for option, pattern in (("--plot", args.plot), ("--overlay", args.overlay)):
        if len(videos) > 1 and pattern and "{name}" not in str(pattern) and "{number}" not in str(pattern):
            return _wrong_option(f"{option}: {len(videos)} videos need {{name}} in the file's name")
    if args.log:
        _log_to_stderr(as_json=args.log == "json")
    failures = 0
    with (
        _trace(),
        _client(args, connection) as client,
        ResultFile(args.output) if args.output else nullcontext() as results,
        tqdm(total=len(videos), unit="video", leave=False, disable=None, file=sys.stderr) as bar,
        ThreadPoolExecutor(args.jobs, "deepfake-videos") as pool,
    ):
        judge = VideoJudge(client, _selection(args), results, args.plot, args.overlay, bar.set_description)
        try:
            jobs = [
                pool.submit(copy_context().run, judge.outcome, number, video)
                for number, video in enumerate(videos, 1)
            ]
            for outcome in (job.result() for job in jobs):
                failures += outcome.error is not None
                _show(outcome, args.json)
                bar.update()
        finally:  # after Ctrl-C, end what is under way, or leaving waits for it
            judge.stop()
            pool.shutdown(wait=False, cancel_futures=True)
            client.close()
    return 1 if failures else 0


def _selection(args: argparse.Namespace) -> FrameSelection:
    return FrameSelection(args.frames, Sampling(args.sampling), args.windows, args.every)


def _show(outcome: Outcome, as_json: bool) -> None:
    if as_json:
        _print(json.dumps(outcome.line))
    elif outcome.error is None:
        _print(outcome.text)
    for warning in outcome.warnings:
        _warn(warning)


def _connection(args: argparse.Namespace) -> ConnectionOptions:
    """Raises PermissionDenied for a token that no header can carry."""
    connection = ConnectionOptions(
        tls=args.tls,
        root_certificates=args.ca,
        private_key=args.key,
        certificate_chain=args.certificate,
        token=os.environ.get(TOKEN_VARIABLE) or None,
        shared_memory_key=os.environ.get(SHARED_MEMORY_KEY_VARIABLE) or None,
    )
    connection.credentials()
    for url in connection.sends_token_in_clear(args.url) if not args.log else ():
        _warn(f"{url}: the token of {TOKEN_VARIABLE} goes there unencrypted: use --tls or --ca")
    return connection


def _client(args: argparse.Namespace, connection: ConnectionOptions) -> DeepfakeClient:
    return DeepfakeClient(
        args.url,
        timeout_s=args.timeout,
        operating_point=args.operating_point,
        retry=RetryPolicy(attempts=args.attempts, attempt_timeout_s=args.attempt_timeout),
        connection=connection,
        evidence=EvidenceRule(args.min_frames, args.min_face, args.min_sharpness),
        transport=Transport(args.transport),
        jpeg_quality=args.jpeg_quality,
    )


def _print(text: str) -> None:
    from tqdm import tqdm

    with tqdm.external_write_mode(file=sys.stdout):
        print(text, flush=True)


def _warn(text: str) -> None:
    from tqdm import tqdm

    with tqdm.external_write_mode(file=sys.stderr):
        print(f"deepfake-triton: {printable(text)}", file=sys.stderr, flush=True)


def _log_to_stderr(as_json: bool) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if as_json else logging.Formatter("%(asctime)s %(message)s"))
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)


def _trace() -> AbstractContextManager[None]:
    """The trace of whoever calls the command, as other tools take it."""
    traceparent = os.environ.get("TRACEPARENT")
    return trace_context(traceparent, os.environ.get("TRACESTATE")) if traceparent else nullcontext()


def _wrong_option(message: str) -> int:
    _warn(message)
    return 2


def _plot(text: str) -> Path:
    return _named(text, FORMATS)


def _overlay(text: str) -> Path:
    return _named(text, (".mp4",))


def _named(text: str, endings: tuple[str, ...]) -> Path:
    if Path(text).suffix.lower() not in endings:
        raise argparse.ArgumentTypeError(f"got {text}, expected a name that ends in {' or '.join(endings)}")
    return Path(text)


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


def _percent(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 100:
        raise argparse.ArgumentTypeError(f"got {number}, expected 1…100")
    return number


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"got {number}, expected 1 or more")
    return number


def _measure(text: str) -> float:
    value = float(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"got {text}, expected a number of 0 or more")
    return value


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < 86_400:
        raise argparse.ArgumentTypeError(f"got {text}, expected more than 0 and less than a day")
    return seconds
