"""Run a gateway: REST, the page and gRPC in one event loop, from its ports to its graceful end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn

from deepfake_triton.client.async_client import AsyncDeepfakeClient
from deepfake_triton.client.wire.connection_options import ConnectionOptions
from deepfake_triton.errors import InvalidOption
from deepfake_triton.gateway.access.access import Access
from deepfake_triton.gateway.app import create_app
from deepfake_triton.gateway.decoding.pool import DecoderPool
from deepfake_triton.gateway.grpc_service.server import GrpcServer, start_grpc
from deepfake_triton.gateway.http.protocol import MAX_HEADER_BYTES, GatewayProtocol
from deepfake_triton.gateway.jobs.jobs import Jobs
from deepfake_triton.gateway.jobs.webhooks import WebhookSender
from deepfake_triton.gateway.metrics import GatewayMetrics
from deepfake_triton.gateway.problems import problem_of
from deepfake_triton.gateway.process import Stop, listener, raise_file_limit, stop_signals
from deepfake_triton.gateway.readiness import Readiness
from deepfake_triton.gateway.services import Services
from deepfake_triton.gateway.settings import GatewaySettings
from deepfake_triton.gateway.tracing import exported_spans
from deepfake_triton.gateway.uploads.spool import Spool

_MAX_CONNECTIONS = 4000
_KEEP_ALIVE_S = 20
_CLOSE_S = 5
_ANSWER_S = 2.0
"""Most seconds for which, when no job is left, the gateway waits for answers to be read."""
_LOOPBACK_OF = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""An address that a browser takes, for one that means every address of this machine."""
_NOISY = ("uvicorn.error", "python_multipart", "python_multipart.multipart")
"""Loggers that warn of each malformed request, so that anyone could fill the log."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Listening:
    """Where a gateway listens.

    Attributes:
        url: Address of the page; REST is under /v1.
        grpc: host:port of gRPC; None: no gRPC.
    """

    url: str
    grpc: str | None


async def serve(
    settings: GatewaySettings,
    on_ready: Callable[[Listening], None],
    *,
    stop: asyncio.Event | None = None,
) -> None:
    """Run a gateway until SIGTERM, SIGINT or `stop`; running jobs then go on for a
    while, until a second signal.

    Raises:
        PortInUse: Another process listens on a port.
        InvalidOption: A setting that only now proves wrong, such as a malformed file of keys.
        MissingDependency: Spans are wanted, and the extra `otlp` is not installed.
    """
    stopping = Stop(stop)
    raise_file_limit()
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.ERROR)
    tracing = exported_spans(settings.trace_endpoint, rate=settings.trace_rate)
    with tracing, listener(settings.host, settings.port) as listening, stop_signals(stopping):
        num_threads = 4 * settings.limits.max_running + 8
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(num_threads, "gateway"))
        async with _services(settings) as services:
            http = _http_server(settings, services)
            grpc = await start_grpc(services) if settings.grpc_port is not None else None
            serving = asyncio.create_task(http.serve([listening]))
            try:
                await _started(http, serving)
                port = listening.getsockname()[1]
                on_ready(_listening(settings, port, grpc.port if grpc else None))
                await _first(serving, stopping.wanted)
            finally:
                await _drain(services, http, serving, grpc=grpc, hurried=stopping.hurried)


async def _drain(
    services: Services,
    http: uvicorn.Server,
    serving: asyncio.Task[None],
    *,
    grpc: GrpcServer | None,
    hurried: asyncio.Event,
) -> None:
    """Let running jobs end, until `hurried`, and their answers go out; cut off whoever else is connected."""
    grace_s = services.settings.grace_s
    services.readiness.is_draining = True
    http.should_exit = True
    if num_jobs := services.jobs.num_running:
        jobs = "a job that runs" if num_jobs == 1 else f"{num_jobs} jobs that run"
        _logger.warning("waiting for %s, %g s at most; a second signal (Ctrl-C) ends it now", jobs, grace_s)
    ends = [asyncio.ensure_future(_wait(serving))]
    if grpc:
        ends.append(asyncio.ensure_future(grpc.stop(grace_s)))
    closing = asyncio.ensure_future(services.jobs.close(grace_s))
    await _first(closing, hurried)
    if not closing.done():
        await services.jobs.close()
    await closing
    if grpc:
        ends.append(asyncio.ensure_future(grpc.stop(_ANSWER_S)))
    answered = asyncio.gather(*ends)
    await asyncio.wait((answered,), timeout=_ANSWER_S)
    for connection in tuple(http.server_state.connections):  # an upload under way, or a reader that is slow
        connection.transport.abort()
    await answered


class _HttpServer(uvicorn.Server):
    """uvicorn without handlers of signals: the gateway has its own."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield


async def _wait(task: asyncio.Task[None]) -> None:
    await task


async def _first(future: asyncio.Future[Any], event: asyncio.Event) -> None:
    """Wait for the first of both."""
    waiting = asyncio.ensure_future(event.wait())
    await asyncio.wait((future, waiting), return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()


async def _started(http: uvicorn.Server, serving: asyncio.Task[None]) -> None:
    while not http.started and not serving.done():
        await asyncio.sleep(0.01)


def _http_server(settings: GatewaySettings, services: Services) -> _HttpServer:
    config = uvicorn.Config(
        create_app(services),
        http=GatewayProtocol,
        ws="none",
        lifespan="off",
        loop="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=_MAX_CONNECTIONS,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=int(settings.grace_s) + _CLOSE_S,
        h11_max_incomplete_event_size=MAX_HEADER_BYTES,
        ssl_certfile=settings.tls_certificate,
        ssl_keyfile=settings.tls_key,
    )
    try:
        config.load()
    except OSError as error:  # ssl.SSLError is one
        raise InvalidOption(
            f"--tls-certificate {settings.tls_certificate}, --tls-key {settings.tls_key}: cannot be used "
            f"({error})"
        ) from error
    return _HttpServer(config)


@asynccontextmanager
async def _services(settings: GatewaySettings) -> AsyncIterator[Services]:
    """Start the parts of a gateway, and close them at the end."""
    limits = settings.limits
    access = Access(settings)
    spool = Spool(settings.spool, limits)
    metrics = GatewayMetrics()
    decoders = DecoderPool(limits, c2pa_trust=settings.c2pa_trust, folder=settings.spool)
    async with AsyncDeepfakeClient(
        settings.urls,
        timeout_s=limits.job_timeout_s,
        connection=settings.connection or ConnectionOptions(),
    ) as client:
        metrics.follow_client(lambda: client.request_counts)
        await decoders.start()
        webhooks = (
            WebhookSender(settings.webhooks, metrics, problem_of=problem_of) if settings.webhooks else None
        )
        jobs = Jobs(client, decoders, limits, metrics=metrics, webhooks=webhooks)
        await jobs.start()
        try:
            yield Services(settings, client, spool, decoders, jobs, access, metrics, Readiness(client))
        finally:
            await jobs.close()
            await decoders.close()
            spool.close()


def _listening(settings: GatewaySettings, port: int, grpc_port: int | None) -> Listening:
    host = _LOOPBACK_OF.get(settings.host, settings.host)
    host = f"[{host}]" if ":" in host else host
    scheme = "https" if settings.tls_certificate else "http"
    return Listening(f"{scheme}://{host}:{port}", f"{host}:{grpc_port}" if grpc_port is not None else None)
