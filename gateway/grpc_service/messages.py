"""Messages of deepfake.v1, built from the committed descriptors of detector.proto.

Code that protoc generates runs with the protobuf that is as old as itself or newer, and refuses others;
descriptors have no such bound. They live in a pool of their own, so that a program may hold stubs of the same
.proto beside the gateway. After changing detector.proto: `python -m deepfake_triton.gateway.grpc_service`.
"""

from __future__ import annotations

from importlib import resources
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

PACKAGE = "deepfake.v1"
SERVICE = f"{PACKAGE}.Detector"
DESCRIPTORS = "detector.binpb"
"""Serialized FileDescriptorSet of detector.proto, beside it."""


def committed_descriptors() -> descriptor_pb2.FileDescriptorSet:
    """Return the descriptors that come with the package."""
    file = resources.files("deepfake_triton.gateway.grpc_service") / DESCRIPTORS
    return descriptor_pb2.FileDescriptorSet.FromString(file.read_bytes())


def _pool() -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    for file in committed_descriptors().file:
        pool.AddSerializedFile(file.SerializeToString())
    return pool


POOL = _pool()


def _message(name: str) -> Any:
    """Return the class of a message; protobuf makes it, so that it has no static type."""
    return message_factory.GetMessageClass(POOL.FindMessageTypeByName(f"{PACKAGE}.{name}"))


DetectRequest = _message("DetectRequest")
DetectEvent = _message("DetectEvent")
VideoVerdict = _message("VideoVerdict")
Sampling = POOL.FindEnumTypeByName(f"{PACKAGE}.Sampling")

UNREADABLE = object()
"""What stands for bytes that are no DetectRequest."""


def request_from_bytes(data: bytes) -> Any:
    """Return a DetectRequest, or UNREADABLE: an exception here would end the call with the status UNKNOWN."""
    try:
        return DetectRequest.FromString(data)
    except DecodeError:
        return UNREADABLE


def part_of(request: Any) -> str:
    """Return which part a DetectRequest holds, `options` or `chunk`, or what it is instead."""
    if request is UNREADABLE:
        return "bytes that are no DetectRequest"
    return request.WhichOneof("part") or "neither"
