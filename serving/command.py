"""`deepfake-triton serve`: Triton in the foreground."""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from deepfake_triton.contracts import SHARED_MEMORY_KEY_VARIABLE
from deepfake_triton.errors import InvalidRepository, ServerFailed
from deepfake_triton.serving.addresses import Listening
from deepfake_triton.serving.options import LOG_LEVELS, START_TIMEOUT_S, ServerOptions
from deepfake_triton.serving.server import TritonServer
from deepfake_triton.shared_memory_key import KEY_PATTERN
from deepfake_triton.terminal import printable

MOST_LOSSES, LOSSES_WITHIN_S = 3, 600.0
RESTART_PAUSE_S = 1.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("repository", type=Path, metavar="DIR", help="model repository that `export` wrote")
    parser.add_argument(
        "--require-signature",
        type=_file,
        metavar="PEM",
        help="serve only a repository whose record is signed; the public key of whoever signs",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    for name, port in (("grpc", 8001), ("http", 8000), ("metrics", 8002)):
        parser.add_argument(
            f"--{name}-port",
            type=_port,
            default=port,
            metavar="PORT",
            help="default %(default)s; 0: a free one",
        )
    parser.add_argument(
        "--model-control",
        choices=("none", "explicit"),
        default="none",
        help="none (default): models are loaded at the start and stay; explicit: whoever reaches the ports "
        "may load and unload models, also models of their own, whose code then runs as this user",
    )
    parser.add_argument(
        "--log-level", choices=LOG_LEVELS, default="error", help="of Triton's own log, on stderr"
    )
    parser.add_argument(
        "--start-timeout",
        type=_seconds,
        default=START_TIMEOUT_S,
        metavar="SECONDS",
        help="default %(default)g",
    )
    _configure_http(parser.add_argument_group("HTTP, which Triton cannot encrypt"))
    secure = parser.add_argument_group("encryption of the gRPC port")
    secure.add_argument("--tls-certificate", type=_file, metavar="PEM", help="the server's, with its chain")
    secure.add_argument("--tls-key", type=_file, metavar="PEM", help="its private key")
    secure.add_argument(
        "--tls-client-ca",
        type=_file,
        metavar="PEM",
        help="clients have to show a certificate that this authority signed",
    )


def _configure_http(plain: argparse._ArgumentGroup) -> None:
    plain.add_argument(
        "--http-inference",
        action="store_true",
        help="open inference over HTTP, to callers that you trust alone: one malformed JSON request of 88 "
        "bytes ends Triton 2.51. Health, metadata and metrics are open without it; it stays closed where "
        "gRPC is encrypted",
    )
    for name in ("http", "metrics"):
        plain.add_argument(
            f"--{name}-host",
            metavar="HOST",
            help="address of that port (default: --host; loopback where gRPC is encrypted)",
        )


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT; 0 after a clean end. A Triton that died is started again."""
    options = ServerOptions(
        repository=args.repository,
        host=args.host,
        grpc_port=args.grpc_port,
        http_port=args.http_port,
        metrics_port=args.metrics_port,
        model_control=args.model_control,
        log_level=args.log_level,
        start_timeout_s=args.start_timeout,
        tls_certificate=args.tls_certificate,
        tls_key=args.tls_key,
        tls_client_ca=args.tls_client_ca,
        shared_memory_key=_shared_memory_key(),
        http_inference=args.http_inference,
        http_host=args.http_host,
        metrics_host=args.metrics_host,
        require_signature=args.require_signature,
    )
    running: list[TritonServer] = []

    def kill(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001
        for server in running:
            server.signal_end()

    def stop(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001
        for again in (signal.SIGTERM, signal.SIGINT):  # a second signal does not wait for requests in flight
            signal.signal(again, kill)
        raise _StopRequested

    try:
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, stop)
        with Listening(options) as listening:
            _serve(options, listening, running)
    except _StopRequested:
        print("stopped", flush=True)
    return 0


def _serve(options: ServerOptions, listening: Listening, running: list[TritonServer]) -> None:
    """Run Triton, and start it again, on the same ports, when it died or has to be ended.

    Raises ServerFailed when it ends in good order without being asked to, does not start, or dies again and
    again.
    """
    losses: list[float] = []
    failed_starts = 0
    reason: str | None = None
    while True:
        try:
            server = _again(options, listening, reason)
            running[:] = [server]
            with server:
                _announce(server)
                failed_starts = 0
                reason = server.wait()
        except ServerFailed as error:
            failed_starts += 1
            if not losses:
                raise
            reason = str(error)
            time.sleep(RESTART_PAUSE_S)
        if reason is None:
            raise ServerFailed("tritonserver ended by itself, in good order: somebody asked it to")
        losses = [each for each in losses if time.monotonic() - each < LOSSES_WITHIN_S] + [time.monotonic()]
        if len(losses) > MOST_LOSSES or failed_starts > MOST_LOSSES:
            raise ServerFailed(f"{reason}; {len(losses)} times in {LOSSES_WITHIN_S:g} s")
        _warn(f"{reason}: starting it again")


def _again(options: ServerOptions, listening: Listening, reason: str | None) -> TritonServer:
    """A server, after one that ended for that `reason`. Raises InvalidRepository, ServerFailed."""
    try:
        return TritonServer(options, listening)
    except InvalidRepository as error:
        raise InvalidRepository(
            f"{reason}, and is not started again: {error}" if reason else str(error)
        ) from error


class _StopRequested(BaseException):
    """SIGTERM or SIGINT arrived."""


def _warn(text: str) -> None:
    with contextlib.suppress(OSError):  # whoever read it has gone
        print(f"deepfake-triton: {printable(text)}", file=sys.stderr, flush=True)


def _announce(server: TritonServer) -> None:
    at = server.listening
    grpc, http = server.access.open_to_callers()
    with contextlib.suppress(OSError):  # as above
        print(f"ready: {server.options.repository}")
        print(f"  gRPC     {at.grpc}")
        print(f"  HTTP     http://{at.http}")
        print(f"  metrics  http://{at.metrics}/metrics")
        print(f"  open     gRPC: {', '.join(grpc)}")
        print(f"           HTTP: {', '.join(http)}")
        print("  trust    Triton 2.51 has known faults: let no untrusted caller reach it", flush=True)


def _shared_memory_key() -> str | None:
    """From the environment, since every user of this machine sees a command's arguments."""
    key = os.environ.get(SHARED_MEMORY_KEY_VARIABLE) or None
    if key and not KEY_PATTERN.fullmatch(key):
        raise ServerFailed(f"{SHARED_MEMORY_KEY_VARIABLE}: expected letters, digits, - and _ only")
    return key


def _file(text: str) -> Path:
    path = Path(text)
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"{text}: no such file")
    return path.resolve()


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"got {text}, expected seconds over 0")
    return seconds


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"got {port}, expected 0…65535")
    return port
