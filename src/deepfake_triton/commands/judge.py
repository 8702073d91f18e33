"""`deepfake-triton judge`: judge videos with a server of its own, write a report, and end the server."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from contextvars import copy_context
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from deepfake_triton.cli_types import (
    addresses,
    existing_file,
    integer,
    path_with_suffix,
    seconds_within_a_day,
)
from deepfake_triton.commands import triton_address
from deepfake_triton.commands.default_repository import default_repository
from deepfake_triton.commands.judged_files import fingerprint, num_skipped
from deepfake_triton.console.progress import pause_progress, stage
from deepfake_triton.console.terminal import printable
from deepfake_triton.detect_options import TOKEN_VARIABLE
from deepfake_triton.errors import DeepfakeError, InputError, InvalidOption, OutputRefused, PermissionDenied
from deepfake_triton.files.atomic import atomic_write
from deepfake_triton.files.outputs import OutputFile, prepare_outputs
from deepfake_triton.gateway.settings import DEFAULT_WINDOWS

if TYPE_CHECKING:
    from deepfake_triton.client.detect.inputs import NamedVideo
    from deepfake_triton.client.sync_client import DeepfakeClient
    from deepfake_triton.client.verdicts.verdict import VideoFailure, VideoVerdict
    from deepfake_triton.gateway.report.entries import ReportEntry
    from deepfake_triton.preprocessing.video.sampling import FrameSelection

CSV_NAME = "verdicts.csv"
_TIMEOUT_S, _INTERRUPTED = 600.0, 130


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "videos",
        nargs="+",
        metavar="PATH",
        help="video files, folders of them, patterns such as 'clips/**/*.mp4', or lists: CSV with a column "
        "path, or JSON lines with a key path",
    )
    parser.add_argument(
        "--report",
        type=path_with_suffix(".html"),
        required=True,
        metavar="FILE.html",
        help="the report to write: one file for people, which needs no network and can be printed",
    )
    parser.add_argument(
        "--csv",
        type=path_with_suffix(".csv"),
        metavar="FILE.csv",
        help=f"the table to write, one row for each video (default: {CSV_NAME} beside the report)",
    )
    parser.add_argument(
        "--windows",
        type=integer(1),
        default=DEFAULT_WINDOWS,
        metavar="N",
        help="number of windows, spread over the whole video (default: %(default)s)",
    )
    parser.add_argument(
        "--operating-point",
        metavar="NAME",
        help="name of the model's thresholds for FAKE and REAL: balanced (default), conservative, …",
    )
    parser.add_argument(
        "--jobs", type=integer(1), default=1, metavar="N", help="videos at once (default: %(default)s)"
    )
    parser.add_argument(
        "--timeout",
        type=seconds_within_a_day,
        default=_TIMEOUT_S,
        metavar="SECONDS",
        help="time-out of one video, retries included (default: %(default)g)",
    )
    parser.add_argument(
        "--c2pa-trust",
        type=existing_file,
        metavar="PEM",
        help="certificate authorities whose Content Credentials are trusted (default: none)",
    )
    _configure_server(parser)


def _configure_server(parser: argparse.ArgumentParser) -> None:
    served = parser.add_mutually_exclusive_group()
    served.add_argument(
        "--repository",
        type=Path,
        metavar="DIR",
        help="model repository to serve (default: one of the default weights, made once in the user's cache)",
    )
    served.add_argument(
        "--url",
        type=addresses,
        metavar="HOST:PORT[,…]",
        help="gRPC addresses of servers that run already; none is started",
    )
    triton_address.configure(parser)


def run(args: argparse.Namespace) -> int:
    """Judge every video; return 0 when each got a verdict, 1 when one could not be processed."""
    # Triton may be started again beside gRPC's threads, whose handlers of fork() would complain.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    from deepfake_triton.client.detect.inputs import expand_videos
    from deepfake_triton.client.sync_client import DeepfakeClient
    from deepfake_triton.client.wire.connection_options import ConnectionOptions
    from deepfake_triton.preprocessing.video.sampling import FrameSelection

    table = args.csv or args.report.with_name(CSV_NAME)
    videos = expand_videos(args.videos)
    if skipped := num_skipped(args.videos, videos):
        _say(f"skipped {skipped} files in folders that are not named like videos; name pictures and lists")
    try:
        connection = triton_address.connection_to_url(args) or ConnectionOptions()
        _require_outputs(args, videos, table)
    except (InvalidOption, OutputRefused, PermissionDenied) as error:
        _say(str(error))
        return 2
    for url in connection.urls_exposing_token(args.url or ()):
        _say(f"{url}: the token of {TOKEN_VARIABLE} goes there unencrypted: use --tls or --ca")
    entries: list[ReportEntry] = []
    try:
        with (
            _served(args) as urls,
            DeepfakeClient(
                urls, timeout_s=args.timeout, operating_point=args.operating_point, connection=connection
            ) as client,
        ):
            client.model()  # a wrong name of an operating point would fail every video
            judging = _Judging(client, FrameSelection(windows=args.windows), args.c2pa_trust)
            _judge_all(judging, videos, jobs=args.jobs, entries=entries)
        if len(entries) < len(videos):
            _say(f"interrupted: {len(entries)} of {len(videos)} videos were judged")
    finally:  # whatever ended it: what was judged is not lost
        if entries:
            _write(entries, len(videos), report=args.report, table=table)
    failed = any(not _has_verdict(entry) for entry in entries)
    return _INTERRUPTED if len(entries) < len(videos) else int(failed)


@contextmanager
def _served(args: argparse.Namespace) -> Iterator[Sequence[str]]:
    """Yield the addresses of servers: the given ones, or that of one that ends with the context."""
    if args.url:
        yield args.url
        return
    from deepfake_triton.commands.embedded_triton import EmbeddedTriton
    from deepfake_triton.console.logs import warnings_on_stderr

    with (
        warnings_on_stderr("deepfake_triton.serving"),
        EmbeddedTriton(args.repository or default_repository()) as triton,
    ):
        _say(f"starting Triton with {triton.repository}")
        triton.ready.result()
        yield (triton.url,)


def _judge_all(
    judging: _Judging, videos: Sequence[NamedVideo], *, jobs: int, entries: list[ReportEntry]
) -> None:
    """Judge the videos, print a line for each, in order, and add it to the entries, up to Ctrl-C."""
    progress = stage("judged", len(videos), "videos") if len(videos) > 1 else nullcontext()
    with (
        suppress(KeyboardInterrupt),
        progress as bar,
        ThreadPoolExecutor(jobs, "deepfake-videos") as pool,
    ):
        try:
            futures = [pool.submit(copy_context().run, judging.judge, video) for video in videos]
            for entry in (future.result() for future in futures):
                entries.append(entry)
                _print(entry)
                if bar:
                    bar.advance()
        finally:  # after Ctrl-C, end what is under way, or leaving waits for it
            pool.shutdown(wait=False, cancel_futures=True)
            judging.client.close()


@dataclass(frozen=True)
class _Judging:
    """What every video is judged with."""

    client: DeepfakeClient
    selection: FrameSelection
    c2pa_trust: Path | None

    def judge(self, video: NamedVideo) -> ReportEntry:
        """Judge one video; every typed error becomes its outcome."""
        from deepfake_triton.gateway.report.entries import ReportEntry

        try:
            if video.error:
                raise video.error
            outcome = self._detect(video.path)
        except DeepfakeError as error:
            outcome = self._failure(video.path, error)
        sha256, size = fingerprint(Path(video.path))
        return ReportEntry(video.path, sha256, time.time(), replace(outcome, video=video.path), size)

    def _detect(self, path: str) -> VideoVerdict | VideoFailure:
        """Detect one video, and read its Content Credentials meanwhile. Raises ServerError."""
        from deepfake_triton.client.provenance import CredentialsProcess

        process = CredentialsProcess(path, self.c2pa_trust)
        try:
            outcome = self._verdict(path)
            return replace(outcome, content_credentials=process.result())
        finally:
            process.close()

    def _verdict(self, path: str) -> VideoVerdict | VideoFailure:
        with stage(Path(path).name, unit="windows") as bar:
            try:
                return self.client.detect(
                    path, self.selection, on_window=lambda done, total: bar.update(None, done, total)
                )
            except InputError as error:
                return self._failure(path, error)

    def _failure(self, path: str, error: DeepfakeError) -> VideoVerdict | VideoFailure:
        from deepfake_triton.client.verdicts.verdict import VideoFailure

        return VideoFailure(path, type(error).__name__, str(error), self.client.known_model)


def _has_verdict(entry: ReportEntry) -> bool:
    from deepfake_triton.client.verdicts.verdict import VideoVerdict

    return isinstance(entry.outcome, VideoVerdict)


def _print(entry: ReportEntry) -> None:
    """Print a verdict on stdout in one line, a failure on stderr."""
    from deepfake_triton.client.rendering.formatting import verdict_text
    from deepfake_triton.client.verdicts.verdict import VideoFailure

    if isinstance(entry.outcome, VideoFailure):
        _say(entry.outcome.message)
        return
    with pause_progress():
        print(verdict_text(entry.outcome).splitlines()[0], flush=True)


def _require_outputs(args: argparse.Namespace, videos: Sequence[NamedVideo], table: Path) -> None:
    """Check and create the places of both files. Raises OutputRefused where one would replace an input."""
    if args.csv is None and table.exists() and not args.report.exists():
        raise OutputRefused(f"--report: {table} is that of another report; name another table with --csv")
    outputs = [OutputFile("--report", args.report), OutputFile("--csv", table)]
    prepare_outputs({*args.videos, *(video.path for video in videos)}, outputs)


def _write(entries: Sequence[ReportEntry], num_videos: int, *, report: Path, table: Path) -> None:
    """Write both files, each as a whole. Raises OutputRefused."""
    from deepfake_triton.gateway.report.csv_table import csv_table
    from deepfake_triton.gateway.report.html_report import html_report
    from deepfake_triton.gateway.words.texts import DEFAULT_LANGUAGE, read_texts

    texts = read_texts(DEFAULT_LANGUAGE)
    written = (
        (report, html_report(entries, texts, num_files=num_videos)),
        (table, csv_table(entries, texts)),
    )
    for path, text in written:
        try:
            with atomic_write(path) as partial:
                partial.write_bytes(text.encode("utf-8", "backslashreplace"))  # names need not be UTF-8
        except OSError as error:
            raise OutputRefused(f"{path}: cannot be written: {error.strerror or error}") from error
    _say(f"wrote {report} and {table}")


def _say(text: str) -> None:
    with pause_progress():
        print(f"deepfake-triton: {printable(text)}", file=sys.stderr, flush=True)
