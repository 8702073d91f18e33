"""Refusals of a server: files that changed since their export, and endpoints that are not for clients."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest
from serve_command import FREE_PORTS, run_serve, serving, wait_until
from tritonclient import grpc
from tritonclient.utils import InferenceServerException

from deepfake_triton import cli
from deepfake_triton.errors import InvalidRepository
from deepfake_triton.export.repository.versions import activate
from deepfake_triton.repository.integrity import require_unchanged
from deepfake_triton.serving.server import ServerOptions, TritonServer

pytestmark = pytest.mark.triton


@pytest.fixture
def copy(published_repository: Path, tmp_path: Path) -> Path:
    shutil.copytree(published_repository, tmp_path / "repository")
    require_unchanged(tmp_path / "repository")
    return tmp_path / "repository"


def test_a_graph_that_changed_since_its_export_is_named_and_not_served(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    graph = copy / "feature_extractor" / "1" / "model.onnx"
    content = bytearray(graph.read_bytes())
    content[len(content) // 2] ^= 1
    graph.write_bytes(content)
    assert cli.main(["serve", str(copy), *FREE_PORTS]) == 1
    error = capsys.readouterr().err
    assert f"{graph}: sha256" in error and "it changed since" in error and error.count("\n") == 1
    with pytest.raises(InvalidRepository, match="it changed since"):
        activate(copy, 1)
    graph.unlink()
    with pytest.raises(InvalidRepository, match="is missing"):
        require_unchanged(copy)


def test_a_report_that_is_none_is_refused(copy: Path) -> None:
    report = copy / "deepfake_detector" / "1" / "export_report.json"
    whole = json.loads(report.read_text())
    for text in ("{", "[]", json.dumps({**whole, "models": {"face_detector": {}}})):
        report.write_text(text)
        with pytest.raises(InvalidRepository, match="is no report of an export"):
            require_unchanged(copy)


def test_a_required_signature_is_held_also_when_triton_is_started_again(
    small_repository: Path, tmp_path: Path
) -> None:
    pytest.importorskip("cryptography", reason="the extra signing is not installed")
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    repository = tmp_path / "repository"
    shutil.copytree(small_repository, repository)
    for name in ("own", "other"):
        key = Ed25519PrivateKey.generate()
        no_password = serialization.NoEncryption()
        pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        (tmp_path / f"{name}.pem").write_bytes(key.private_bytes(pem, pkcs8, no_password))
        public = key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
        (tmp_path / f"{name}.pub.pem").write_bytes(public)
    assert cli.main(["repository", "sign", str(repository), "--key", str(tmp_path / "own.pem")]) == 0
    status, (line,) = run_serve(str(repository), "--require-signature", str(tmp_path / "other.pub.pem"))
    assert status == 1 and "signed by another key" in line
    with serving(repository, "--require-signature", str(tmp_path / "own.pub.pem")) as served:
        with (repository / "face_tracker" / "1" / "model.py").open("a") as step:
            step.write("# planted\n")
        os.kill(served.triton, signal.SIGSEGV)
        _, errors = served.process.communicate(timeout=60)
        assert served.process.returncode == 1 and "it changed since" in errors.splitlines()[-1]


def endpoints_over_grpc(url: str) -> dict[str, str]:
    """Whether each administrative endpoint is open or closed."""
    answers = {}
    with grpc.InferenceServerClient(url) as connection:
        for name, call in {
            "model-repository": connection.get_model_repository_index,
            "trace": connection.get_trace_settings,
            "logging": connection.get_log_settings,
            "shared-memory": connection.get_system_shared_memory_status,
            "metadata": connection.get_server_metadata,
        }.items():
            try:
                call()
                answers[name] = "open"
            except InferenceServerException as error:
                answers[name] = "closed" if "protocol is restricted" in str(error) else str(error)
    return answers


def endpoints_over_http(port: int) -> dict[str, str]:
    """The same over HTTP."""
    answers = {}
    for name, (method, path) in {
        "model-repository": ("POST", "/v2/repository/index"),
        "trace": ("GET", "/v2/trace/setting"),
        "logging": ("GET", "/v2/logging"),
        "shared-memory": ("GET", "/v2/systemsharedmemory/status"),
        "metadata": ("GET", "/v2"),
    }.items():
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request(method, path)
        status = connection.getresponse().status
        answers[name] = {200: "open", 403: "closed"}.get(status, str(status))
        connection.close()
    return answers


def test_calls_of_administrators_are_closed_on_both_ports(published_server: TritonServer) -> None:
    closed = dict.fromkeys(("model-repository", "trace", "logging", "shared-memory"), "closed")
    expected = {**closed, "metadata": "open"}
    assert endpoints_over_grpc(published_server.url) == expected
    assert endpoints_over_http(published_server.http_port) == expected


def test_model_control_opens_by_option_and_nothing_else_does(
    small_repository: Path,
) -> None:
    options = replace(ServerOptions.on_free_ports(small_repository), host="0.0.0.0", model_control="explicit")
    with TritonServer(options) as server:
        expected = dict.fromkeys(("trace", "logging", "shared-memory"), "closed")
        expected |= {"model-repository": "open", "metadata": "open"}
        assert endpoints_over_grpc(f"127.0.0.1:{server.grpc_port}") == expected
        assert endpoints_over_http(server.http_port) == expected
        with grpc.InferenceServerClient(f"127.0.0.1:{server.grpc_port}") as connection:
            connection.unload_model("face_tracker")
            assert wait_until(lambda: not connection.is_model_ready("face_tracker"))
            connection.load_model("face_tracker")
            assert connection.is_model_ready("face_tracker")
