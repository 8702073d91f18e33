"""Metadata of the server and the model behind each endpoint: flows that read it, and a cache."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from google.protobuf.message import Message
from tritonclient.grpc import service_pb2 as pb

from deepfake_triton.client.protocol.options import ClientOptions
from deepfake_triton.client.protocol.retry import Attempt
from deepfake_triton.client.protocol.steps import Call, Flow, reply_to
from deepfake_triton.client.verdicts.verdict import ModelInfo
from deepfake_triton.client.wire.model_replies import model_info_from_replies
from deepfake_triton.client.wire.requests import ENSEMBLE

MODEL_INFO_AGE_S = 2.0
"""Shorter than any server takes to restart, so that a verdict never names a model that has gone."""
FIRST_VERSION_THAT_CANCELS = (2, 57)
"""Triton of release 25.04: earlier ones may crash when a `ModelInfer` is cancelled, by its caller or by its
gRPC deadline (triton-inference-server/server #7368 and #8034)."""


class ServedModels:
    """Model metadata by endpoint, for as long as it can be relied on."""

    def __init__(self, options: ClientOptions, clock: Callable[[], float]) -> None:
        self.last: ModelInfo | None = None
        """The model that answered last, if one did."""
        self._options, self._clock = options, clock
        self._read_at: dict[str, tuple[ModelInfo, float]] = {}
        self._cancels: dict[str, bool] = {}

    def model_for(self, attempt: Attempt) -> Flow[ModelInfo]:
        """Return the model of the attempt's endpoint, read again where it may have changed. Raises
        ServerError."""
        return self._fresh(attempt.url) or (yield from self.read(attempt))

    def read(self, attempt: Attempt) -> Flow[ModelInfo]:
        """Read the metadata of server and model. Raises ServerError, ContractMismatch for another model."""
        url = attempt.url
        server = yield from self._reply(attempt, pb.ServerMetadataRequest())
        self._cancels[url] = cancels_safely(server.version)
        metadata = yield from self._reply(attempt, pb.ModelMetadataRequest(name=ENSEMBLE.name))
        config = yield from self._reply(attempt, pb.ModelConfigRequest(name=ENSEMBLE.name))
        model = model_info_from_replies(metadata, config, self._options.operating_point)
        self._read_at[url] = model, self._clock()
        self.last = model
        return model

    def can_cancel(self, url: str) -> bool:
        """Whether the server there is known to survive cancelled requests."""
        return self._fresh(url) is not None and self._cancels.get(url, False)

    def forget(self, url: str) -> None:
        """Drop what is known after a failed call: the server that comes back may be another."""
        self._read_at.pop(url, None)
        self._cancels.pop(url, None)
        self.last = None

    def _fresh(self, url: str) -> ModelInfo | None:
        model, read_at = self._read_at.get(url, (None, 0.0))
        return None if self._clock() - read_at > MODEL_INFO_AGE_S else model

    def _reply(self, attempt: Attempt, request: Message) -> Flow[Any]:
        headers = self._options.connection.headers()
        return (yield from reply_to(Call(attempt.url, request, attempt.remaining_s(), headers)))


def cancels_safely(server_version: str) -> bool:
    """Whether a Triton of that version, such as "2.51.0", survives cancelled requests; False if unknown."""
    found = re.match(r"(\d+)\.(\d+)", server_version)
    return found is not None and (int(found[1]), int(found[2])) >= FIRST_VERSION_THAT_CANCELS
