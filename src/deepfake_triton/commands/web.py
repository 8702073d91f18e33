"""`deepfake-triton web`: a page, REST and gRPC for video files, with a Triton of its own or beside others."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import FrameType
from typing import TYPE_CHECKING

from deepfake_triton.commands.default_repository import default_repository
from deepfake_triton.commands.web_options import configure, settings_from
from deepfake_triton.console.logs import TextLines, records_on_stderr, warnings_on_stderr
from deepfake_triton.console.terminal import printable
from deepfake_triton.errors import InvalidOption, PortInUse
from deepfake_triton.host.addresses import is_unspecified

if TYPE_CHECKING:
    from deepfake_triton.commands.embedded_triton import EmbeddedTriton
    from deepfake_triton.gateway.server import Listening
    from deepfake_triton.gateway.settings import GatewaySettings

__all__ = ["configure", "run"]

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_LOGGERS = ("deepfake_triton.serving", "deepfake_triton.gateway", "deepfake_triton.client")
_REQUEST_LOG = "deepfake_triton.gateway.requests"


def run(args: argparse.Namespace) -> int:
    """Run the gateway until SIGTERM or SIGINT; 0 after a clean end, 2 for contradictory options."""
    try:
        if args.new_api_key is not None:
            return _create_key(args)
        settings = _settings(args)
    except InvalidOption as error:
        _say(str(error))
        return 2
    # Triton is started, and started again, beside gRPC's threads, whose handlers of fork() would complain.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    from deepfake_triton.commands.embedded_triton import EmbeddedTriton

    _require_free_ports(settings)
    with _log_on_stderr(args.log), _until_stopped():
        if args.url:
            asyncio.run(_serve(settings, None))
        else:
            with EmbeddedTriton(
                args.repository or default_repository(),
                trace_endpoint=settings.trace_endpoint,
                trace_rate=settings.trace_rate,
            ) as triton:
                _say(f"starting Triton with {triton.repository}")
                triton.ready.result()
                asyncio.run(_serve(replace(settings, urls=(triton.url,)), triton))
    with contextlib.suppress(OSError):  # whoever read stdout has gone
        print("stopped", flush=True)
    return 0


def _settings(args: argparse.Namespace) -> GatewaySettings:
    if args.url and args.repository:
        raise InvalidOption(
            f"got the repository {args.repository} and --url; Tritons at --url have their own: leave one out"
        )
    settings = settings_from(args)
    if args.c2pa_trust:
        from deepfake_triton.client.provenance import require_trust_anchors

        require_trust_anchors(args.c2pa_trust)
    return settings


@contextlib.contextmanager
def _log_on_stderr(form: str | None) -> Iterator[None]:
    """Show warnings, or, in the form that was asked for, requests too."""
    if form is None:
        with warnings_on_stderr(*_LOGGERS):
            yield
        return
    from deepfake_triton.client.wire.request_log import JsonLines

    logging.getLogger(_REQUEST_LOG).setLevel(logging.INFO)
    with records_on_stderr(_LOGGERS, JsonLines() if form == "json" else TextLines()):
        yield


async def _serve(settings: GatewaySettings, triton: EmbeddedTriton | None) -> None:
    """Run the gateway, and end it when its Triton has failed for good."""
    from deepfake_triton.gateway.server import serve

    stop, loop = asyncio.Event(), asyncio.get_running_loop()

    def stop_from_thread() -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended before Triton
            loop.call_soon_threadsafe(stop.set)

    if triton is not None:
        triton.when_ended(stop_from_thread)
    await serve(settings, lambda listening: _announce(listening, settings), stop=stop)
    if triton is not None:
        triton.raise_failure()


def _require_free_ports(settings: GatewaySettings) -> None:
    """Raise PortInUse before the time that Triton takes to start."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    for option, port in (("--port", settings.port), ("--grpc-port", settings.grpc_port)):
        try:
            socket.create_server((settings.host, port or 0), family=family).close()
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                place = f"{settings.host}:{port}"
                raise PortInUse(
                    f"{option} {port}: another process listens on {place}; name another port, or 0"
                ) from error


def _announce(listening: Listening, settings: GatewaySettings) -> None:
    with contextlib.suppress(OSError):  # whoever read stdout has gone
        print("ready")
        print(f"  page     {listening.url}")
        print(f"  REST     {listening.url}/v1/detect, described at {listening.url}/openapi.json")
        if listening.grpc:
            print(f"  gRPC     {listening.grpc}, service deepfake.v1.Detector")
        print(f"  Triton   {', '.join(settings.urls)}")
        is_everywhere = is_unspecified(settings.host)
        reached = "this machine, at any of its addresses" if is_everywhere else settings.host
        print(f"  access   anyone who reaches {reached}{' with an API key' if settings.api_keys else ''}")
        kept_s = settings.limits.retention_s
        kept = f"{kept_s / 60:g} min" if kept_s >= 60 else f"{kept_s:g} s"
        print(f"  kept     uploads until they are judged, verdicts for {kept}", flush=True)


def _create_key(args: argparse.Namespace) -> int:
    from deepfake_triton.gateway.access.key_file import create_key

    if args.api_keys is None:
        raise InvalidOption("--new-api-key needs the file to add it to: --api-keys FILE")
    print(create_key(args.api_keys, args.new_api_key))
    _say(f"{args.api_keys} holds only its hash: keep the key, it cannot be shown again")
    return 0


class _StopRequested(BaseException):
    """SIGTERM or SIGINT arrived where the gateway does not handle them: before its start, or after."""


@contextlib.contextmanager
def _until_stopped() -> Iterator[None]:
    """End the context, in good order, on the first SIGTERM or SIGINT that the gateway does not handle.

    Later ones are ignored, also after the context: this process ends. An error restores the handlers.
    """

    def stop(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001
        handle(signal.SIG_IGN)
        raise _StopRequested

    def handle(handler: Callable[[int, FrameType | None], None] | signal.Handlers) -> None:
        for number in _SIGNALS:
            signal.signal(number, handler)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    earlier = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        handle(stop)
        with contextlib.suppress(_StopRequested):
            yield
        handle(signal.SIG_IGN)
    except BaseException:
        for number, handler in earlier.items():
            signal.signal(number, handler)
        raise


def _say(text: str) -> None:
    print(f"deepfake-triton: {printable(text)}", file=sys.stderr, flush=True)
