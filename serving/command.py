"""`deepfake-triton serve`: Triton in the foreground."""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from deepfake_triton.contracts import SHARED_MEMORY_KEY_VARIABLE
from deepfake_triton.errors import ServerFailed
from deepfake_triton.serving.server import LOG_LEVELS, START_TIMEOUT_S, ServerOptions, TritonServer

MOST_LOSSES, LOSSES_WITHIN_S = 3, 600.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("repository", type=Path, metavar="DIR", help="model repository that `export` wrote")
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
        help="explicit: clients may load and unload models",
    )
    parser.add_argument(
        "--log-level", choices=LOG_LEVELS, default="error", help="of Triton's own log, on stderr"
    )
    parser.add_argument(
        "--start-timeout", type=float, default=START_TIMEOUT_S, metavar="SECONDS", help="default %(default)g"
    )
    secure = parser.add_argument_group("encryption of the gRPC port")
    secure.add_argument("--tls-certificate", type=_file, metavar="PEM", help="the server's, with its chain")
    secure.add_argument("--tls-key", type=_file, metavar="PEM", help="its private key")
    secure.add_argument(
        "--tls-client-ca", type=_file, metavar="PEM", help="clients have to show a certificate of this one"
    )


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT; 0 after a clean end. A Triton that lost a step is started again."""
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
    )
    if (args.tls_certificate is None) != (args.tls_key is None) or (
        args.tls_client_ca and not args.tls_certificate
    ):
        raise ServerFailed("--tls-certificate and --tls-key belong together, and --tls-client-ca needs both")
    running: list[TritonServer] = []

    def kill(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001
        for server in running:
            server.kill()

    def stop(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001
        for again in (signal.SIGTERM, signal.SIGINT):  # a second signal does not wait for requests in flight
            signal.signal(again, kill)
        raise _StopRequested

    try:
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, stop)
        _serve(options, running)
    except _StopRequested:
        print("stopped", flush=True)
    return 0


def _serve(options: ServerOptions, running: list[TritonServer]) -> None:
    """Run Triton, and start it again when it lost a step. Raises ServerFailed when it ends by itself, or
    loses steps again and again."""
    losses: list[float] = []
    while True:
        with TritonServer(options) as server:
            running[:] = [server]
            _announce(server)
            options = server.same_ports()
            lost_step = server.wait()
        if not lost_step:
            raise ServerFailed(
                f"tritonserver ended by itself with status {server.process.returncode}: {server.failure()}"
            )
        losses = [each for each in losses if time.monotonic() - each < LOSSES_WITHIN_S] + [time.monotonic()]
        reason = "the process of a Python model ended, which Triton does not survive"
        if len(losses) > MOST_LOSSES:
            raise ServerFailed(f"{reason}; {len(losses)} times in {LOSSES_WITHIN_S:g} s")
        print(f"deepfake-triton: {reason}: starting it again", file=sys.stderr, flush=True)


class _StopRequested(BaseException):
    """SIGTERM or SIGINT arrived."""


def _announce(server: TritonServer) -> None:
    host = server.options.host
    print(f"ready: {server.options.repository}")
    print(f"  gRPC     {host}:{server.grpc_port}")
    print(f"  HTTP     http://{host}:{server.http_port}")
    print(f"  metrics  http://{host}:{server.metrics_port}/metrics", flush=True)


def _shared_memory_key() -> str | None:
    """From the environment, since every user of this machine sees a command's arguments."""
    key = os.environ.get(SHARED_MEMORY_KEY_VARIABLE) or None
    if key and not re.fullmatch(r"[A-Za-z0-9_-]+", key):
        raise ServerFailed(f"{SHARED_MEMORY_KEY_VARIABLE}: expected letters, digits, - and _ only")
    return key


def _file(text: str) -> Path:
    path = Path(text)
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"{text}: no such file")
    return path.resolve()


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"got {port}, expected 0…65535")
    return port
