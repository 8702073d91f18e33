"""gRPC server of the gateway, in its event loop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

from deepfake_triton.errors import PortInUse
from deepfake_triton.gateway.grpc_service.health import ReadinessWatch
from deepfake_triton.gateway.grpc_service.messages import POOL, SERVICE
from deepfake_triton.gateway.grpc_service.servicer import detector_handlers
from deepfake_triton.gateway.services import Services
from deepfake_triton.gateway.settings import GatewaySettings

MAX_MESSAGE_BYTES = 4 * 2**20
"""Largest DetectRequest."""
OTHER_CALLS = 64
"""Calls at once beside those that are or may become jobs: health checks, reflection, refusals."""

_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.so_reuseport", 0),  # a second gateway on the port would share its calls, and tell nobody
    ("grpc.max_concurrent_streams", 128),
    ("grpc.keepalive_time_ms", 30_000),  # a caller that vanished without a word is noticed
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.max_connection_idle_ms", 300_000),
)


class GrpcServer:
    """A running gRPC server; made by `start_grpc`.

    Attributes:
        port: Where it listens.
    """

    def __init__(self, server: grpc.aio.Server, port: int, readiness: ReadinessWatch) -> None:
        self.port = port
        self._server = server
        self._readiness = readiness

    async def stop(self, grace_s: float) -> None:
        """Take no new calls; cancel those that have not ended after `grace_s` seconds, and their jobs."""
        await self._readiness.stop()
        await self._server.stop(grace_s)


async def start_grpc(services: Services) -> GrpcServer:
    """Start Detector, health and reflection on the port of the settings.

    Raises:
        PortInUse: Another process listens there.
    """
    settings = services.settings
    limits = settings.limits
    most_calls = limits.max_running + limits.max_queued + OTHER_CALLS
    server = grpc.aio.server(options=_OPTIONS, maximum_concurrent_rpcs=most_calls)
    readiness = ReadinessWatch(services.readiness)
    server.add_generic_rpc_handlers((detector_handlers(services),))
    health_pb2_grpc.add_HealthServicer_to_server(readiness.servicer, server)
    _add_reflection(server)
    port = _listen(server, settings)
    await server.start()
    await readiness.start()
    return GrpcServer(server, port, readiness)


def _add_reflection(server: grpc.aio.Server) -> None:
    """Serve the descriptors, under the name of the stable version too: both have the same messages."""
    POOL.AddSerializedFile(health_pb2.DESCRIPTOR.serialized_pb)
    POOL.AddSerializedFile(reflection_pb2.DESCRIPTOR.serialized_pb)
    names = (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server, pool=POOL)
    servicer = reflection.aio.ReflectionServicer(names, pool=POOL)
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    stable = grpc.method_handlers_generic_handler(
        "grpc.reflection.v1.ServerReflection", {"ServerReflectionInfo": handler}
    )
    server.add_generic_rpc_handlers((stable,))


def _listen(server: grpc.aio.Server, settings: GatewaySettings) -> int:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    address = f"{host}:{settings.grpc_port}"
    credentials = _credentials(settings.tls_certificate, settings.tls_key)
    try:
        if credentials is None:
            return int(server.add_insecure_port(address))
        return int(server.add_secure_port(address, credentials))
    except RuntimeError as error:
        raise PortInUse(
            f"gRPC cannot listen on {address}: choose another --grpc-port, or 0 for a free one"
        ) from error


def _credentials(certificate: Path | None, key: Path | None) -> Any | None:
    if certificate is None or key is None:
        return None
    return grpc.ssl_server_credentials([(key.read_bytes(), certificate.read_bytes())])
