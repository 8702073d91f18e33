"""The client protocol driven by hand: a sender that keeps each step of a flow, and replies to send it."""

from __future__ import annotations

from typing import Any

import numpy as np
from listening_server import ensemble_config, ensemble_metadata, server_metadata
from tritonclient.grpc import service_pb2 as pb

from deepfake_triton.client import Transport
from deepfake_triton.client.protocol.exchange import Exchange
from deepfake_triton.client.protocol.options import ClientOptions
from deepfake_triton.client.protocol.steps import Call, Flow, Step
from deepfake_triton.preprocessing.video.frame_batch import FrameBatch

FRAMES = FrameBatch(np.zeros((2, 8, 8, 3), np.uint8), np.array([0.0, 0.5]), 1.0)
A, B = "127.0.0.1:1", "127.0.0.1:2"


class Clock:
    """Time that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class ManualSender:
    """A sender that keeps what a flow yields, and its result."""

    def __init__(self, flow: Flow[Any]) -> None:
        self.flow = flow
        self.step: Step = next(flow)
        self.result: Any = None
        self.is_done = False

    @property
    def call(self) -> Call:
        assert isinstance(self.step, Call)
        return self.step

    def send(self, result: object = None) -> ManualSender:
        return self._resume(lambda: self.flow.send(result))

    def throw(self, error: Exception) -> ManualSender:
        return self._resume(lambda: self.flow.throw(error))

    def answer(self, reply: object) -> ManualSender:
        """End a ModelInfer as a connection does: its lease is released before the reply comes."""
        assert self.call.method == "ModelInfer" and self.call.lease
        self.call.lease.transfer()
        self.call.lease.release(answered=True)
        return self.send(reply)

    def fail(self, error: Exception, *, answered: bool) -> ManualSender:
        """End a ModelInfer with an error, after which the server is done with the request, or may not be."""
        assert self.call.lease
        self.call.lease.transfer()
        self.call.lease.release(answered=answered)
        return self.throw(error)

    def _resume(self, resume: Any) -> ManualSender:
        try:
            self.step = resume()
        except StopIteration as end:
            self.result, self.is_done = end.value, True
        return self


def exchange_with(*urls: str, clock: Clock | None = None, **options: Any) -> Exchange:
    arguments = {"transport": Transport.GRPC, "timeout_s": 60.0, **options}
    return Exchange(ClientOptions(urls or (A,), **arguments), clock=clock or Clock(), jitter=lambda: 1.0)


def faces(client: Exchange) -> ManualSender:
    return ManualSender(client.detect_faces(FRAMES, client.deadline()))


def infer_reply(probability: float = 0.75, version: str = "1") -> pb.ModelInferResponse:
    """One face, seen in both frames."""
    outputs = {
        "fake_probability": np.array([[probability]], np.float32),
        "boxes": np.tile(np.array([1, 1, 6, 7], np.float32), (1, 2, 1)),
        "observed": np.ones((1, 2), np.bool_),
    }
    reply = pb.ModelInferResponse(model_name="deepfake_detector", model_version=version)
    for name, array in outputs.items():
        kind = "BOOL" if array.dtype == np.bool_ else "FP32"
        reply.outputs.add(name=name, datatype=kind, shape=array.shape)
        reply.raw_output_contents.append(array.tobytes())
    return reply


def read_metadata(sender: ManualSender, triton: str = "2.51.0") -> ManualSender:
    methods = []
    for reply in (server_metadata(triton), ensemble_metadata(), ensemble_config()):
        methods.append(sender.call.method)
        sender.send(reply)
    assert methods == ["ServerMetadata", "ModelMetadata", "ModelConfig"]
    return sender
