from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import grpc
import pytest
from detector_calls import call, requests_of, services
from google.protobuf import descriptor_pool, message_factory
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from network import certificates_in, free_port
from running_gateway import running_gateway

from deepfake_triton.errors import InvalidOption, PortInUse
from deepfake_triton.gateway.server import Listening
from deepfake_triton.gateway.settings import GatewaySettings
from deepfake_triton.serving.server import TritonServer

pytestmark = pytest.mark.triton

DETECTOR = "deepfake.v1.Detector"


def health_of(channel: grpc.Channel, service: str) -> str:
    answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=service))
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


def test_health_is_that_of_the_model(gateway: Listening) -> None:
    with grpc.insecure_channel(str(gateway.grpc)) as channel:
        deadline = time.monotonic() + 20
        while health_of(channel, DETECTOR) != "SERVING":
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert health_of(channel, "") == "SERVING"
        with pytest.raises(grpc.RpcError) as unknown:
            health_of(channel, "another.Service")
        assert unknown.value.code() is grpc.StatusCode.NOT_FOUND


def test_without_a_model_nothing_serves() -> None:
    settings = GatewaySettings(urls=(f"127.0.0.1:{free_port()}",), port=0, grpc_port=0)
    with running_gateway(settings) as gateway, grpc.insecure_channel(str(gateway.grpc)) as channel:
        for _ in range(3):
            assert health_of(channel, DETECTOR) == health_of(channel, "") == "NOT_SERVING"
            time.sleep(0.2)


def test_reflection_is_enough_for_a_client(gateway: Listening, clip_bytes: bytes) -> None:
    """No .proto file: messages come from the server."""
    with grpc.insecure_channel(str(gateway.grpc)) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        assert set(database.get_services()) >= {DETECTOR, "grpc.health.v1.Health"}
        pool = descriptor_pool.DescriptorPool(database)
        method = pool.FindServiceByName(DETECTOR).methods_by_name["Detect"]
        request = message_factory.GetMessageClass(method.input_type)
        answer = message_factory.GetMessageClass(method.output_type)
        assert "Check" in pool.FindServiceByName("grpc.health.v1.Health").methods_by_name
        detect = channel.stream_stream(f"/{DETECTOR}/Detect", request.SerializeToString, answer.FromString)
        first = request()
        first.options.frames = 5
        *_, last = detect(iter((first, request(chunk=clip_bytes))))
    assert last.verdict.frames_decoded == 5 and last.verdict.faces


def test_reflection_has_its_stable_name_too(gateway: Listening) -> None:
    with grpc.insecure_channel(str(gateway.grpc)) as channel:
        ask = channel.stream_stream(
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            reflection_pb2.ServerReflectionRequest.SerializeToString,
            reflection_pb2.ServerReflectionResponse.FromString,
        )
        (answer,) = ask(iter([reflection_pb2.ServerReflectionRequest(file_containing_symbol=DETECTOR)]))
    assert answer.file_descriptor_response.file_descriptor_proto


def test_a_port_in_use_is_told(gateway: Listening, published_server: TritonServer) -> None:
    port = int(str(gateway.grpc).rpartition(":")[2])
    settings = GatewaySettings(urls=(published_server.url,), port=0, grpc_port=port)
    with pytest.raises(PortInUse, match=f"{port}.*--grpc-port"), running_gateway(settings):
        pass


def test_tls(published_server: TritonServer, tmp_path: Path, clip_bytes: bytes) -> None:
    folder = certificates_in(tmp_path)
    settings = GatewaySettings(
        urls=(published_server.url,),
        port=0,
        grpc_port=0,
        tls_certificate=folder / "server.pem",
        tls_key=folder / "server.key",
    )
    trusted = grpc.ssl_channel_credentials((folder / "ca.pem").read_bytes())
    with running_gateway(settings) as gateway:
        with grpc.secure_channel(str(gateway.grpc), trusted) as channel:
            *_, last = services.DetectorStub(channel).Detect(requests_of(clip_bytes, frames=1))
            assert last.verdict.frames_decoded == 1
        with pytest.raises(grpc.RpcError) as refused:
            call(str(gateway.grpc), requests_of(clip_bytes), timeout_s=5)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


def test_an_unusable_certificate_is_told(published_server: TritonServer, tmp_path: Path) -> None:
    paths: dict[str, Any] = {name: tmp_path / f"{name}.pem" for name in ("tls_certificate", "tls_key")}
    for path in paths.values():
        path.write_text("no PEM")
    settings = GatewaySettings(urls=(published_server.url,), port=0, grpc_port=0, **paths)
    with pytest.raises(InvalidOption, match="tls"), running_gateway(settings):
        pass


def test_the_end_of_the_gateway_ends_its_calls(published_server: TritonServer, clip_bytes: bytes) -> None:
    settings = GatewaySettings(urls=(published_server.url,), port=0, grpc_port=0, grace_s=0)
    with running_gateway(settings) as gateway:
        channel = grpc.insecure_channel(str(gateway.grpc))
        events = services.DetectorStub(channel).Detect(requests_of(clip_bytes, windows=64, frames=1))
        assert next(events).HasField("queued")
    with pytest.raises(grpc.RpcError) as ended:
        list(events)
    assert ended.value.code() in (grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE)
    channel.close()
