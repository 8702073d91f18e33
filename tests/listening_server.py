"""A gRPC server that describes itself as a Triton with our ensemble, and answers no inference."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import Any

import grpc
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2, service_pb2_grpc
from tritonclient.grpc import service_pb2 as pb

from deepfake_triton.export.repository.configs import config_text, model_configs
from deepfake_triton.models.metadata import PUBLISHED


def server_metadata(version: str) -> pb.ServerMetadataResponse:
    """What a Triton of that version says of itself."""
    return pb.ServerMetadataResponse(name="triton", version=version)


def ensemble_metadata() -> pb.ModelMetadataResponse:
    """The tensors of the ensemble, version 1."""
    config = _ensemble_config()
    reply = pb.ModelMetadataResponse(name="deepfake_detector")
    for ours, theirs in ((reply.inputs, config.input), (reply.outputs, config.output)):
        for tensor in theirs:
            datatype = model_config_pb2.DataType.Name(tensor.data_type).removeprefix("TYPE_")
            ours.add(name=tensor.name, datatype=datatype, shape=tensor.dims)
    return reply


def ensemble_config(version: int = 1) -> pb.ModelConfigResponse:
    """The configuration of the ensemble, with the metadata of custom weights."""
    text = f"config {{ {config_text(_ensemble_config(version))} }}"
    return text_format.Parse(text, pb.ModelConfigResponse(), allow_unknown_field=True)


def _ensemble_config(version: int = 1) -> Any:
    return model_configs(PUBLISHED, version, weights="custom", export_sha256="ab" * 32)["deepfake_detector"]


class Listener(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """Describes a Triton of that version and the ensemble, and answers no inference until released."""

    def __init__(self, version: str) -> None:
        self.version, self.asked, self.cancelled = version, threading.Event(), threading.Event()
        self.release = threading.Event()

    def ServerMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
        return server_metadata(self.version)

    def ModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
        return ensemble_metadata()

    def ModelConfig(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
        return ensemble_config()

    def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
        context.add_callback(lambda: self.cancelled.set() if not self.release.is_set() else None)
        self.asked.set()
        self.release.wait(30)
        context.abort(grpc.StatusCode.INTERNAL, "released")


@contextmanager
def listening(version: str) -> Iterator[tuple[str, Listener]]:
    listener = Listener(version)
    server = grpc.server(futures.ThreadPoolExecutor(4))
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(listener, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}", listener
    finally:
        listener.release.set()
        server.stop(None)
