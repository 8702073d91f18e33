"""Runner of one model of a running Triton server, over gRPC."""

from __future__ import annotations

from typing import Any

from deepfake_triton.errors import InferenceFailed
from deepfake_triton.host.addresses import grpc_channel_options
from deepfake_triton.models.runtimes.base import Feed


class TritonRunner:
    """A model of the Triton at `url` (HOST:PORT); `version` "" is the newest."""

    def __init__(self, url: str, model: str, version: str = "") -> None:
        from tritonclient import grpc

        self.url, self.model, self.version = url, model, version
        self.connection: Any = grpc.InferenceServerClient(url, channel_args=grpc_channel_options(url))

    @property
    def runtime(self) -> str:
        """Server version and address."""
        return f"Triton {self.connection.get_server_metadata().version} at {self.url}"

    def infer(self, feed: Feed) -> Feed:
        """Return the model's outputs by name. Raises InferenceFailed with the server's message."""
        from tritonclient import grpc, utils

        inputs = []
        for name, values in feed.items():
            tensor = grpc.InferInput(name, list(values.shape), utils.np_to_triton_dtype(values.dtype))
            inputs.append(tensor.set_data_from_numpy(values))
        try:
            answer = self.connection.infer(self.model, inputs, model_version=self.version)
        except utils.InferenceServerException as error:
            raise InferenceFailed(f"{self.model} at {self.url}: {error.message()}") from error
        return {entry.name: answer.as_numpy(entry.name) for entry in answer.get_response().outputs}
