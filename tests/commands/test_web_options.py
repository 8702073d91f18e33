"""Options of `web`: what contradicts is refused at once, and the others become the gateway's settings."""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import pytest

from deepfake_triton.cli import main
from deepfake_triton.client import ConnectionOptions
from deepfake_triton.commands.web_options import configure, settings_from
from deepfake_triton.gateway.settings import GatewaySettings, Limits, Webhooks

pytestmark = pytest.mark.fast


def parsed(*options: str) -> GatewaySettings:
    parser = argparse.ArgumentParser()
    configure(parser)
    return settings_from(parser.parse_args(options))


def test_the_defaults_are_those_of_the_settings() -> None:
    assert parsed("--url", "localhost:8001") == GatewaySettings(connection=ConnectionOptions())
    assert parsed() == GatewaySettings(urls=())


def test_options_become_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPFAKE_TRITON_TOKEN", "a token")
    for name in ("ca.pem", "client.pem", "client.key"):
        (tmp_path / name).write_text("-----BEGIN X")
    (tmp_path / "secret").write_text("a secret of enough letters\n")
    settings = parsed(
        *("--url", "a:1,b:2", "--triton-ca", str(tmp_path / "ca.pem")),
        *("--triton-certificate", str(tmp_path / "client.pem"), "--triton-key", str(tmp_path / "client.key")),
        *("--host", "0.0.0.0", "--port", "0", "--grpc-port", "9", "--no-api-keys"),
        *("--max-upload", "500M", "--max-duration", "90s", "--retention", "1h", "--spool", str(tmp_path)),
        *("--jobs", "3", "--max-queue", "0"),
        *("--allow-host", "judge.example.org, judge", "--allow-url-hosts", "*.example.org"),
        *("--webhook-url", "https://example.org/hook", "--allow-webhook-hosts", "example.org"),
        *("--webhook-secret", str(tmp_path / "secret")),
    )
    assert settings == GatewaySettings(
        urls=("a:1", "b:2"),
        connection=ConnectionOptions(
            root_certificates=tmp_path / "ca.pem",
            certificate_chain=tmp_path / "client.pem",
            private_key=tmp_path / "client.key",
            token="a token",
        ),
        host="0.0.0.0",
        port=0,
        grpc_port=9,
        limits=Limits(
            max_upload_bytes=500 * 2**20,
            max_duration_seconds=90,
            retention_s=3600,
            max_running=3,
            max_queued=0,
        ),
        spool=tmp_path,
        allow_no_keys=True,
        allowed_hosts=("judge.example.org", "judge"),
        url_hosts=("*.example.org",),
        webhooks=Webhooks("a secret of enough letters", "https://example.org/hook", ("example.org",)),
    )
    assert "a token" not in repr(settings)


@pytest.mark.parametrize("command", ["web", "judge"])
def test_frames_go_to_another_host_unencrypted_only_where_that_is_allowed(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prefix, options = ("--triton-", []) if command == "web" else ("--", ["a.mp4", "--report", "r.html"])
    assert main([command, *options, "--url", "localhost:8001,192.0.2.1:8001"]) == 2
    said = capsys.readouterr().err
    assert f"--url 192.0.2.1:8001: frames would go there unencrypted; say {prefix}tls" in said
    assert main([command, *options, f"{prefix}tls", "--allow-plaintext"]) == 2
    assert f"{prefix}tls, --allow-plaintext: without --url" in capsys.readouterr().err
    (tmp_path / "ca.pem").write_text("nothing")
    assert main([command, *options, "--url", "192.0.2.1:8001", f"{prefix}ca", str(tmp_path / "ca.pem")]) != 0
    assert "is no PEM file" in capsys.readouterr().err


def test_an_encrypted_or_allowed_connection_is_taken() -> None:
    encrypted = parsed("--url", "192.0.2.1:8001", "--triton-tls").connection
    plain = parsed("--url", "192.0.2.1:8001", "--allow-plaintext").connection
    assert encrypted == ConnectionOptions(tls=True) and plain == ConnectionOptions()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--host", "0.0.0.0"], "name a file of keys, or say --no-api-keys"),
        (["--host", "::"], "name a file of keys, or say --no-api-keys"),
        (["DIR", "--url", "localhost:8001"], "leave one out"),
        (["--webhook-url", "https://example.org/"], "--webhook-secret belongs to"),
        (["--webhook-secret", "{short}"], "--webhook-secret belongs to"),
        (["--webhook-secret", "{short}", "--webhook-url", "https://example.org/"], "got 5 characters"),
        (["--tls-certificate", "{short}"], "belong together"),
        (["--new-api-key", "newsroom"], "needs the file to add it to"),
        (["--c2pa-trust", "{short}"], "holds no certificate"),
    ],
)
def test_contradictions_are_refused_before_anything_starts(
    options: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "short").write_text("short")
    assert main(["web", *(option.format(short=tmp_path / "short") for option in options)]) == 2
    assert says in capsys.readouterr().err


def test_a_new_key_is_shown_once_and_stored_as_a_hash(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "keys"
    assert main(["web", "--api-keys", str(file), "--new-api-key", "newsroom"]) == 0
    key = capsys.readouterr().out.strip()
    assert key not in file.read_text()
    assert file.read_text().strip() == f"newsroom:{hashlib.sha256(key.encode()).hexdigest()}"
