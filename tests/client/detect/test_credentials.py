"""`detect` beside Content Credentials: a key and a line of their own, and the same verdict."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from signed_files import authority_in

from deepfake_triton.cli import main
from deepfake_triton.serving.server import TritonServer

pytestmark = pytest.mark.triton


def detect_json(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> list[dict[str, Any]]:
    main(["detect", "--json", *map(str, arguments)])
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_credentials_stand_beside_an_unchanged_verdict(
    clip_path: Path, published_server: TritonServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    authority = authority_in(tmp_path)
    signed = authority.sign(clip_path, tmp_path / "signed.mp4")
    (tmp_path / "text.mp4").write_text("no video")
    url = ("--url", published_server.url)
    plain, unknown, text = detect_json(capsys, clip_path, signed, tmp_path / "text.mp4", *url)
    assert plain["content_credentials"]["state"] == "none"
    assert unknown["content_credentials"]["state"] == "valid_unknown_signer"
    assert (text["error"]["type"], text["content_credentials"]["state"]) == ("NotAVideo", "none")
    results = ("--output", tmp_path / "results.jsonl")
    [earlier] = detect_json(capsys, signed, *url, *results)
    [trusted] = detect_json(capsys, signed, *url, *results, "--c2pa-trust", authority.pem)
    assert trusted["content_credentials"]["state"] == "trusted", "not the line of the run before"
    judged = ("verdict", "fake_probability", "reason", "faces", "frames_decoded")
    assert all(plain[key] == unknown[key] == earlier[key] == trusted[key] for key in judged)
    main(["detect", str(signed), *url])
    assert "  signed  by camera 1 (Test newsroom), who is not known here" in capsys.readouterr().out


def test_a_trust_list_without_a_certificate_is_refused(
    clip_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["detect", str(clip_path), "--c2pa-trust", str(clip_path)]) == 1
    assert "cannot be read as PEM" in capsys.readouterr().err
