"""Metadata of the server and the model behind each endpoint: flows that read it, and a cache."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from google.protobuf.message import Message
from tritonclient.grpc import service_pb2 as pb

from deepfake_triton.client.protocol.options import ClientOptions
from deepfake_triton.client.protocol.retry import Attempt
from deepfake_triton.client.protocol.steps import Call, Flow, Pause, reply_to
from deepfake_triton.client.verdicts.verdict import ModelInfo
from deepfake_triton.client.wire.model_replies import model_info_from_replies
from deepfake_triton.client.wire.requests import ENSEMBLE
from deepfake_triton.errors import ModelUnavailable

MODEL_INFO_AGE_S = 2.0
"""Shorter than any server takes to restart, so that a verdict never names a model that has gone."""
VERSION_READS, VERSION_PAUSE_S = 20, 0.1
"""Reads of one version: of the servers behind one address, few may have it while they are replaced."""
FIRST_VERSION_THAT_CANCELS = (2, 57)
"""Triton of release 25.04: earlier ones may crash when a `ModelInfer` is cancelled, by its caller or by its
gRPC deadline (triton-inference-server/server #7368 and #8034)."""


class ServedModels:
    """Model metadata by endpoint and version, for as long as it can be relied on.

    Servers behind one address, of a proxy or a name, may serve different versions.
    """

    def __init__(self, options: ClientOptions, clock: Callable[[], float]) -> None:
        self.last: ModelInfo | None = None
        """The model that answered last, if one did."""
        self._options, self._clock = options, clock
        self._read_at: dict[tuple[str, str], tuple[ModelInfo, float]] = {}
        self._cancels: dict[str, bool] = {}

    def model_for(self, attempt: Attempt, version: str = "") -> Flow[ModelInfo]:
        """Return the model of the attempt's endpoint, read again where it may have changed; `version` is the
        one that answered. Raises ServerError, ModelUnavailable for a version that has gone before it was ever
        read."""
        model = self._fresh(attempt.url, version)
        if model is None:
            try:
                model = yield from self._read(attempt, version)
            except ModelUnavailable:
                if (attempt.url, version) not in self._read_at:
                    raise
                model, _ = self._read_at[attempt.url, version]  # its server has gone since it answered
        self.last = model
        return model

    def _read(self, attempt: Attempt, version: str) -> Flow[ModelInfo]:
        """Read the metadata of server and model. Raises ServerError, ContractMismatch for another model."""
        url = attempt.url
        server = yield from self._reply(attempt, pb.ServerMetadataRequest())
        self._cancels[url] = cancels_safely(server.version)
        metadata = yield from self._reply(
            attempt, pb.ModelMetadataRequest(name=ENSEMBLE.name, version=version)
        )
        config = yield from self._reply(attempt, pb.ModelConfigRequest(name=ENSEMBLE.name, version=version))
        model = model_info_from_replies(metadata, config, self._options.operating_point)
        self._read_at[url, version or model.version] = model, self._clock()
        return model

    def can_cancel(self, url: str) -> bool:
        """Whether the server there is known to survive cancelled requests."""
        return self._fresh(url) is not None and self._cancels.get(url, False)

    def forget(self, url: str) -> None:
        """Rely no more on what is known after a failed call: the server that comes back may be another."""
        for known, (model, _) in tuple(self._read_at.items()):
            if known[0] == url:
                self._read_at[known] = model, -math.inf
        self._cancels.pop(url, None)
        self.last = None

    def _fresh(self, url: str, version: str = "") -> ModelInfo | None:
        """Return what was read last of an endpoint (and of its `version`); None if that is too old."""
        known = [
            entry
            for (of, number), entry in tuple(self._read_at.items())
            if of == url and version in {"", number}
        ]
        model, read_at = max(known, key=lambda entry: entry[1], default=(None, -math.inf))
        return None if self._clock() - read_at > MODEL_INFO_AGE_S else model

    def _reply(self, attempt: Attempt, request: Message) -> Flow[Any]:
        """Call; where a version is asked for, again until a server that has it is met."""
        headers = self._options.connection.headers()
        for _ in range(VERSION_READS if getattr(request, "version", "") else 0):
            try:
                return (yield from reply_to(Call(attempt.url, request, attempt.remaining_s(), headers)))
            except ModelUnavailable:
                yield Pause(VERSION_PAUSE_S)
        return (yield from reply_to(Call(attempt.url, request, attempt.remaining_s(), headers)))


def cancels_safely(server_version: str) -> bool:
    """Whether a Triton of that version, such as "2.51.0", survives cancelled requests; False if unknown."""
    found = re.match(r"(\d+)\.(\d+)", server_version)
    return found is not None and (int(found[1]), int(found[2])) >= FIRST_VERSION_THAT_CANCELS
