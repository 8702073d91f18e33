"""`deepfake-triton serve`: Triton in the foreground."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from deepfake_triton.cli_types import existing_file, integer, port, seconds
from deepfake_triton.console.logs import warnings_on_stderr
from deepfake_triton.contracts import SHARED_MEMORY_KEY_VARIABLE
from deepfake_triton.errors import ServerFailed
from deepfake_triton.host.onnx_runtime import conflicting_builds_warning
from deepfake_triton.serving.installation.folder import CONTAINER_FOLDER
from deepfake_triton.serving.options import LOG_LEVELS, START_TIMEOUT_S, ServerOptions
from deepfake_triton.serving.ports import ReservedEndpoints
from deepfake_triton.serving.server import TritonServer
from deepfake_triton.serving.supervisor import Supervisor
from deepfake_triton.shared_memory.key import KEY_PATTERN

logger = logging.getLogger(__name__)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("repository", type=Path, metavar="DIR", help="model repository that `export` wrote")
    parser.add_argument(
        "--require-signature",
        type=existing_file,
        metavar="PEM",
        help="public key; serve only a repository whose record was signed with its private key",
    )
    parser.add_argument(
        "--triton",
        type=_triton_folder,
        metavar="auto|DIR",
        help=f"folder of the Triton to start, as {CONTAINER_FOLDER} in NVIDIA's container: its own backends "
        "run the networks (default: auto, the one of the extra `server`, else that folder)",
    )
    parser.add_argument(
        "--engine-cache",
        type=Path,
        metavar="DIR",
        help="take TensorRT engines that the repository lacks for the local GPU from this folder, and build "
        "them into it first where it has none that fit; an absolute path apart from the repository, which is "
        "only read (default: the repository has them all, or is not for TensorRT)",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    for name, default in (("grpc", 8001), ("http", 8000), ("metrics", 8002)):
        parser.add_argument(
            f"--{name}-port",
            type=port,
            default=default,
            metavar="PORT",
            help="default %(default)s; 0: the system chooses a free one",
        )
    parser.add_argument(
        "--model-control",
        choices=("none", "explicit"),
        default="none",
        help="none (default): models are loaded at start-up and stay loaded; explicit: anyone who can reach "
        "the ports may load and unload models, also their own, whose code then runs as this user",
    )
    parser.add_argument(
        "--log-level",
        choices=LOG_LEVELS,
        default="error",
        help="of Triton's own log, on stderr (default: %(default)s)",
    )
    parser.add_argument(
        "--start-timeout",
        type=seconds,
        default=START_TIMEOUT_S,
        metavar="SECONDS",
        help="for Triton to load all models (default: %(default)g)",
    )
    _configure_tracing(parser.add_argument_group("tracing"))
    _configure_http(parser.add_argument_group("HTTP, which Triton cannot encrypt"))
    _configure_encryption(parser.add_argument_group("encryption of the gRPC port"))


def _configure_tracing(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--trace-endpoint",
        metavar="URL",
        help="OpenTelemetry collector to which Triton sends spans of requests and their steps (OTLP, JSON "
        "over HTTP), such as http://localhost:4318/v1/traces",
    )
    group.add_argument(
        "--trace-rate",
        type=integer(1),
        default=1000,
        metavar="N",
        help="trace one of N requests (default: %(default)s), beside those with a caller's traceparent",
    )


def _configure_http(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--http-inference",
        action="store_true",
        help="open inference over HTTP, for trusted callers only: one malformed JSON request of 88 bytes "
        "ends Triton 2.51. Health, metadata and metrics are open without it; it stays closed where gRPC is "
        "encrypted",
    )
    for name in ("http", "metrics"):
        group.add_argument(
            f"--{name}-host",
            metavar="HOST",
            help="address of that port (default: --host; loopback where gRPC is encrypted)",
        )


def _configure_encryption(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--tls-certificate",
        type=existing_file,
        metavar="PEM",
        help="certificate of the server, with its chain",
    )
    group.add_argument("--tls-key", type=existing_file, metavar="PEM", help="private key of the server")
    group.add_argument(
        "--tls-client-ca",
        type=existing_file,
        metavar="PEM",
        help="require clients to show a certificate that this authority signed",
    )


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT; 0 after a clean end. A Triton that died is started again."""
    with warnings_on_stderr("deepfake_triton.serving"):
        if advice := conflicting_builds_warning():
            logger.warning("%s", advice)
        options = _options_from_arguments(args)
        signals = _StopSignals()
        try:
            signals.handle()
            with ReservedEndpoints(options) as endpoints:
                supervisor = Supervisor(options, endpoints, _announce)
                signals.on_repeat = supervisor.signal_end
                supervisor.run()
        except _StopRequested:
            print("stopped", flush=True)
    return 0


def _options_from_arguments(args: argparse.Namespace) -> ServerOptions:
    return ServerOptions(
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
        triton=args.triton,
        engine_cache=args.engine_cache,
        require_signature=args.require_signature,
        trace_endpoint=args.trace_endpoint,
        trace_rate=args.trace_rate,
    )


def _triton_folder(text: str) -> Path | None:
    return None if text == "auto" else Path(text)


def _shared_memory_key() -> str | None:
    """Read the key from the environment: every user of this host can read a command's arguments."""
    key = os.environ.get(SHARED_MEMORY_KEY_VARIABLE) or None
    if key and not KEY_PATTERN.fullmatch(key):
        raise ServerFailed(f"{SHARED_MEMORY_KEY_VARIABLE}: expected letters, digits, - and _ only")
    return key


class _StopRequested(BaseException):
    """SIGTERM or SIGINT arrived."""


class _StopSignals:
    """Handlers of SIGTERM and SIGINT: the first one drains the server, a second one calls `on_repeat`."""

    def __init__(self) -> None:
        self.on_repeat: Callable[[], None] = lambda: None

    def handle(self) -> None:
        """Install the handlers."""
        self._install(self._stop)

    def _install(self, handler: Callable[[int, FrameType | None], None]) -> None:
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, handler)

    def _stop(self, signum: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self._install(lambda _signum, _frame: self.on_repeat())
        raise _StopRequested


def _announce(server: TritonServer) -> None:
    endpoints = server.endpoints
    exposed = server.access.exposed_endpoints()
    with contextlib.suppress(OSError):  # whoever read stdout has gone
        print(f"ready: {server.options.repository}")
        print(f"  gRPC     {endpoints.grpc}")
        print(f"  HTTP     http://{endpoints.http}")
        print(f"  metrics  http://{endpoints.metrics}/metrics")
        print(f"  open     gRPC: {', '.join(exposed.grpc)}")
        print(f"           HTTP: {', '.join(exposed.http)}")
        trust = f"{server.installation.name} has known faults: let no untrusted caller reach it"
        print(f"  trust    {trust}", flush=True)
