"""`deepfake-triton detect`: verdicts on videos, as text or JSON lines."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import copy_context

from deepfake_triton.client.detect.batch import BatchDetector, Outcome
from deepfake_triton.client.detect.connection import connection_from
from deepfake_triton.client.detect.inputs import NamedVideo, expand_videos
from deepfake_triton.client.detect.result_line import DetectionOptions, InputStamp, RunConditions
from deepfake_triton.client.detect.results_file import ResultsFile, drawn_files
from deepfake_triton.client.protocol.retry import RetryPolicy
from deepfake_triton.client.provenance import require_trust_anchors
from deepfake_triton.client.rendering.drawings import Drawings
from deepfake_triton.client.sync_client import DeepfakeClient
from deepfake_triton.client.verdicts.quality_gate import EvidenceRule
from deepfake_triton.client.wire.connection_options import ConnectionOptions
from deepfake_triton.client.wire.request_log import LOGGER, JsonLines
from deepfake_triton.client.wire.tracing import trace_context
from deepfake_triton.client.wire.transport import Transport
from deepfake_triton.console.logs import TextLines, records_on_stderr
from deepfake_triton.console.progress import pause_progress, stage
from deepfake_triton.console.terminal import printable
from deepfake_triton.detect_options import TOKEN_VARIABLE, configure
from deepfake_triton.errors import OutputRefused, PermissionDenied
from deepfake_triton.files.hashing import sha256_of_file
from deepfake_triton.files.outputs import OutputFile, prepare_outputs
from deepfake_triton.preprocessing.video.sampling import FrameSelection, Sampling

__all__ = ["configure", "run"]


def run(args: argparse.Namespace) -> int:
    """Detect every video; return 0 when each got a verdict, 1 when one could not be processed."""
    if args.sampling != Sampling.CONSECUTIVE.value and (args.windows or args.every):
        return _refuse_options("--windows and --every judge consecutive frames; leave --sampling out")
    if bool(args.key) != bool(args.certificate):
        return _refuse_options("--key and --certificate belong together; name both")
    if args.c2pa_trust:
        require_trust_anchors(args.c2pa_trust)
    earlier = drawn_files(args.output) if args.output else ()
    videos, drawings = expand_videos(args.videos, earlier), Drawings(args.plot, args.overlay)
    try:
        connection = _connection(args)
        _require_outputs(args, videos, drawings)
    except (OutputRefused, PermissionDenied) as error:
        return _refuse_options(str(error))
    with (
        _trace(),
        _log_on_stderr(args.log),
        _client(args, connection) as client,
        ResultsFile(args.output) if args.output else nullcontext() as results,
    ):
        quality = args.jpeg_quality if args.transport == Transport.JPEG.value else None
        trust_sha256 = sha256_of_file(args.c2pa_trust) if args.c2pa_trust else None
        options = DetectionOptions(_selection(args), _evidence(args), quality, trust_sha256)
        detector = BatchDetector(
            client,
            options.selection,
            results=results,
            drawings=drawings,
            conditions=lambda video: RunConditions(InputStamp.of(video), options),
            c2pa_trust=args.c2pa_trust,
        )
        return 1 if _detect_all(args, detector, videos, client=client) else 0


def _detect_all(
    args: argparse.Namespace,
    detector: BatchDetector,
    videos: Sequence[NamedVideo],
    *,
    client: DeepfakeClient,
) -> int:
    """Print the outcome for each video, in order; return the number of failures."""
    failures = 0
    batch_progress = stage("judged", len(videos), "videos") if len(videos) > 1 else nullcontext()
    with batch_progress as bar, ThreadPoolExecutor(args.jobs, "deepfake-videos") as pool:
        try:
            detections = [
                pool.submit(copy_context().run, detector.detect, number, video)
                for number, video in enumerate(videos, 1)
            ]
            for outcome in (detection.result() for detection in detections):
                failures += outcome.failed | (not _show(outcome, args.json))
                if bar:
                    bar.advance()
        finally:  # after Ctrl-C, end what is under way, or leaving waits for it
            detector.stop()
            pool.shutdown(wait=False, cancel_futures=True)
            client.close()
    return failures


def _require_outputs(args: argparse.Namespace, videos: Sequence[NamedVideo], drawings: Drawings) -> None:
    """Check and create the places of output files. Raises OutputRefused where one would replace an input."""
    option = drawings.shared_option()
    if option and len(videos) > 1:
        raise OutputRefused(f"{option}: {len(videos)} videos need {{name}} in the file's name")
    outputs = [OutputFile("--output", args.output)] if args.output else []
    for number, video in enumerate(videos, 1):
        outputs += drawings.possible_files(number, video.path) if video.error is None else ()
    if outputs:
        read = {*args.videos, *(video.path for video in videos)}
        prepare_outputs(read, outputs)


def _selection(args: argparse.Namespace) -> FrameSelection:
    return FrameSelection(args.frames, Sampling(args.sampling), args.windows, args.every)


def _evidence(args: argparse.Namespace) -> EvidenceRule:
    return EvidenceRule(args.min_frames, args.min_face, args.min_sharpness, args.max_blockiness)


def _show(outcome: Outcome, as_json: bool) -> bool:
    """Print an outcome; return whether it could be written."""
    is_written = True
    if as_json or outcome.text:
        is_written = _print(json.dumps(outcome.line.document) if as_json else outcome.text)
    for warning in outcome.warnings:
        _warn(warning)
    return is_written


def _connection(args: argparse.Namespace) -> ConnectionOptions:
    """Return the connection, and warn of a token that others can read. Raises PermissionDenied."""
    connection = connection_from(args)
    for url in connection.urls_exposing_token(args.url) if not args.log else ():
        _warn(f"{url}: the token of {TOKEN_VARIABLE} goes there unencrypted: use --tls or --ca")
    return connection


def _client(args: argparse.Namespace, connection: ConnectionOptions) -> DeepfakeClient:
    return DeepfakeClient(
        args.url,
        timeout_s=args.timeout,
        operating_point=args.operating_point,
        retry=RetryPolicy(attempts=args.attempts, attempt_timeout_s=args.attempt_timeout),
        connection=connection,
        evidence=_evidence(args),
        transport=Transport(args.transport),
        jpeg_quality=args.jpeg_quality,
    )


def _print(text: str) -> bool:
    """Print text; return whether it could be written. A closed pipe ends the run, a full disk does not."""
    try:
        with pause_progress():
            print(text, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or what is left fails at the end
        _warn(f"standard output: cannot be written: {error.strerror}")
        return False
    return True


def _warn(text: str) -> None:
    with pause_progress():
        print(f"deepfake-triton: {printable(text)}", file=sys.stderr, flush=True)


@contextmanager
def _log_on_stderr(form: str | None) -> Iterator[None]:
    if form is None:
        yield
        return
    LOGGER.setLevel(logging.INFO)
    with records_on_stderr([LOGGER.name], JsonLines() if form == "json" else TextLines()):
        yield


def _trace() -> AbstractContextManager[None]:
    """Trace context of the caller of the command, from the usual environment variables."""
    traceparent = os.environ.get("TRACEPARENT")
    return trace_context(traceparent, os.environ.get("TRACESTATE")) if traceparent else nullcontext()


def _refuse_options(message: str) -> int:
    _warn(message)
    return 2
