"""Content Credentials over REST: those of the original upload, as `detect --json` reads them."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest
from running_gateway import running_gateway
from signed_files import AI_SOURCE, authority_in

from deepfake_triton.cli import main
from deepfake_triton.gateway.settings import GatewaySettings
from deepfake_triton.serving.server import TritonServer

pytestmark = pytest.mark.triton


def test_the_upload_s_credentials_are_those_of_detect(
    published_server: TritonServer, clip_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    authority = authority_in(tmp_path)
    signed = authority.sign(clip_path, tmp_path / "signed.mp4", digital_source=AI_SOURCE)
    changed = tmp_path / "changed.mp4"
    data = bytearray(signed.read_bytes())
    data[-1] ^= 1
    changed.write_bytes(data)
    files = (clip_path, signed, changed)
    main(
        [
            "detect",
            "--json",
            "--url",
            published_server.url,
            "--c2pa-trust",
            str(authority.pem),
            *map(str, files),
        ]
    )
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    states = [line["content_credentials"]["state"] for line in lines]
    assert states == ["none", "trusted", "invalid"]
    settings = GatewaySettings(urls=(published_server.url,), port=0, grpc_port=None, c2pa_trust=authority.pem)
    with running_gateway(settings) as listening:
        for file, line in zip(files, lines, strict=True):
            answer = httpx.post(
                f"{listening.url}/v1/detect", files={"file": file.open("rb")}, timeout=60
            ).json()
            assert answer["content_credentials"] == line["content_credentials"]
            assert answer["fake_probability"] == line["fake_probability"]
