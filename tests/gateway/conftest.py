"""A running gateway in front of a real Triton, which the tests of its parts share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from running_gateway import running_gateway

from deepfake_triton.gateway.access.key_file import create_key
from deepfake_triton.gateway.server import Listening
from deepfake_triton.gateway.settings import GatewaySettings
from deepfake_triton.serving.server import TritonServer


@dataclass(frozen=True)
class KeyedGateway:
    """A gateway with keys: those of two callers, and one that may ask twice an hour, one job at once."""

    listening: Listening
    first: str
    second: str
    slow: str


@pytest.fixture(scope="session")
def gateway(published_server: TritonServer) -> Iterator[Listening]:
    """A gateway without keys, on free ports."""
    with running_gateway(GatewaySettings(urls=(published_server.url,), port=0, grpc_port=0)) as listening:
        yield listening


@pytest.fixture(scope="session")
def keyed_gateway(
    published_server: TritonServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[KeyedGateway]:
    """A gateway with API keys, on free ports."""
    path = tmp_path_factory.mktemp("keys") / "keys"
    first, second = create_key(path, "first"), create_key(path, "second")
    slow = create_key(path, "slow", rate="2/hour", max_jobs=1)
    settings = GatewaySettings(urls=(published_server.url,), port=0, grpc_port=0, api_keys=path)
    with running_gateway(settings) as listening:
        yield KeyedGateway(listening, first, second, slow)


@pytest.fixture
def http(gateway: Listening) -> Iterator[httpx.Client]:
    """A client of the gateway without keys."""
    with httpx.Client(base_url=gateway.url, timeout=60, trust_env=False) as client:
        yield client


@pytest.fixture(scope="session")
def clip_bytes(clip_path: Path) -> bytes:
    """The bytes of the bundled clip."""
    return clip_path.read_bytes()
