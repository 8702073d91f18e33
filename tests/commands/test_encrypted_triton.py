"""`web` and `judge` in front of a Triton that takes encrypted calls of known clients only."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from network import certificates_in
from serve_command import Served, serving
from web_command import running_web

from deepfake_triton import cli

pytestmark = pytest.mark.triton


@pytest.fixture(scope="module")
def pems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificates_in(tmp_path_factory.mktemp("pems"))


@pytest.fixture(scope="module")
def served(published_repository: Path, pems: Path) -> Iterator[Served]:
    """`deepfake-triton serve` with mutual TLS."""
    own = ("--tls-certificate", str(pems / "server.pem"), "--tls-key", str(pems / "server.key"))
    with serving(published_repository, *own, "--tls-client-ca", str(pems / "ca.pem")) as served:
        yield served


def known(prefix: str, pems: Path) -> list[str]:
    """The options of a client with a certificate."""
    files = {"ca": "ca.pem", "certificate": "client.pem", "key": "client.key"}
    return [part for name, file in files.items() for part in (f"--{prefix}{name}", str(pems / file))]


def test_a_gateway_with_a_certificate_judges(served: Served, pems: Path, clip_path: Path) -> None:
    with running_web("--url", served.grpc, *known("triton-", pems)) as gateway:
        assert httpx.get(f"{gateway.page}/readyz", timeout=30).status_code == 200
        answer = httpx.post(f"{gateway.page}/v1/detect", content=clip_path.read_bytes(), timeout=60)
        assert answer.status_code == 200 and answer.json()["faces"]


@pytest.mark.parametrize("options", [[], ["--triton-ca", "ca.pem"]])
def test_one_without_is_not_ready(options: list[str], served: Served, pems: Path) -> None:
    named = [str(pems / option) if option.endswith(".pem") else option for option in options]
    with running_web("--url", served.grpc, *named) as gateway:
        assert httpx.get(f"{gateway.page}/readyz", timeout=60).status_code == 503


def test_judge_with_a_certificate(served: Served, pems: Path, clip_path: Path, tmp_path: Path) -> None:
    arguments = ["judge", str(clip_path), "--windows", "1", "--report", str(tmp_path / "report.html")]
    assert cli.main([*arguments, "--url", served.grpc, *known("", pems)]) == 0
    with (tmp_path / "verdicts.csv").open(newline="") as file:
        assert float(next(csv.DictReader(file))["fake_probability"]) > 0
