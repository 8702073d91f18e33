"""A connection to a name with several addresses."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent import futures
from contextlib import ExitStack
from typing import Any

import grpc
import pytest
from network import free_port
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

from deepfake_triton.client.protocol.steps import Call
from deepfake_triton.client.sending.connection import Connection, Reply
from deepfake_triton.client.wire.connection_options import ConnectionOptions

pytestmark = pytest.mark.fast
RETRIES = 8


class Server(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """Says its address in every reply."""

    def __init__(self, address: str) -> None:
        self.address = address

    def ServerMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
        return pb.ServerMetadataResponse(name=self.address)

    def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
        return pb.ModelInferResponse(model_name=self.address)


@pytest.fixture(params=[2, 3, 4])
def addresses(request: pytest.FixtureRequest) -> Iterator[str]:
    """So many servers, as gRPC sees a name that resolves to them."""
    port = free_port()
    hosts = [f"127.0.0.{2 + number}:{port}" for number in range(request.param)]
    with ExitStack() as stack:
        for host in hosts:
            server = grpc.server(futures.ThreadPoolExecutor(2))
            service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Server(host), server)
            assert server.add_insecure_port(host) == port
            server.start()
            stack.callback(server.stop, None)
        yield "ipv4:" + ",".join(hosts)


def asked(connection: Connection, request: Any) -> Any:
    reply = Reply()
    connection.start(Call(connection.url, request, 30.0), reply)
    return reply.result()


@pytest.mark.parametrize("reads", [0, 1, 2, 3])
def test_a_retry_meets_the_next_server_whatever_is_read_before_it(
    addresses: str, reads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def channel(_options: ConnectionOptions, _url: str) -> grpc.Channel:
        return grpc.insecure_channel(addresses, [("grpc.lb_policy_name", "round_robin")])

    monkeypatch.setattr(ConnectionOptions, "channel", channel)
    connection = Connection("tritons.test:1", ConnectionOptions())
    count = addresses.count(":") - 1
    names: set[str] = set()
    while len(names) < count:  # until gRPC has connected to all
        names.add(asked(connection, pb.ModelInferRequest()).model_name)
    met = []
    for _ in range(RETRIES):
        for _ in range(reads):
            asked(connection, pb.ServerMetadataRequest())
        met.append(asked(connection, pb.ModelInferRequest()).model_name)
    connection.close()
    assert all(set(met[first : first + count]) == names for first in range(RETRIES - count + 1)), met
