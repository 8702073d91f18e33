"""Calls of deepfake.v1.Detector by a client that has nothing but the .proto file."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf import json_format
from paths import ROOT

from deepfake_triton.json_object import JsonObject

sys.path.append(str(ROOT / "gateway/grpc_service"))
messages, services = grpc.protos_and_services("detector.proto")

CHUNK_BYTES = 100_000


@dataclass(frozen=True)
class Refusal:
    """Status of a call that failed, and its trailing metadata."""

    code: str
    error: str | None
    details: str
    retry_after_s: str | None


def requests_of(content: bytes, **options: Any) -> Iterator[Any]:
    """The requests that send a file: its options, then its bytes."""
    yield messages.DetectRequest(options=messages.Options(**options))
    for start in range(0, len(content), CHUNK_BYTES):
        yield messages.DetectRequest(chunk=content[start : start + CHUNK_BYTES])


def call(
    address: str, requests: Iterable[Any], *, metadata: Iterable[tuple[str, str]] = (), timeout_s: float = 120
) -> list[Any]:
    """Send requests, and return all events."""
    with grpc.insecure_channel(address, (("grpc.enable_http_proxy", 0),)) as channel:
        detector = services.DetectorStub(channel)
        return list(detector.Detect(iter(requests), metadata=tuple(metadata), timeout=timeout_s))


def refusal_of(
    address: str, requests: Iterable[Any], *, metadata: Iterable[tuple[str, str]] = (), timeout_s: float = 120
) -> Refusal:
    """Send requests that are to be refused, and return why they were."""
    try:
        events = call(address, requests, metadata=metadata, timeout_s=timeout_s)
    except grpc.RpcError as error:
        return refusal_in(error)
    raise AssertionError(f"not refused, but answered with {len(events)} events")


def refusal_in(error: Any) -> Refusal:
    """Return what the error of a call says."""
    trailers = dict(error.trailing_metadata() or ())
    return Refusal(
        error.code().name, trailers.get("error-type"), error.details(), trailers.get("retry-after")
    )


def as_json(verdict: Any) -> JsonObject:
    """A VideoVerdict in protobuf's own JSON mapping; absent fields are absent."""
    document: JsonObject = json_format.MessageToDict(
        verdict, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return document


def without_nulls(value: Any) -> Any:
    """A JSON value without the keys that are null."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value
