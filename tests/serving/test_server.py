"""`deepfake-triton serve` on the real tritonserver: what an operator sees."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc
from serve_command import (
    COMMAND,
    FREE_PORTS,
    alive,
    descendants,
    pending_requests,
    run_serve,
    serving,
    wait_until,
)
from tritonclient.utils import InferenceServerException

from deepfake_triton.client import DeepfakeClient, FrameBatch, RetryPolicy
from deepfake_triton.errors import InvalidRepository, PortInUse, ServerError, ServerFailed
from deepfake_triton.export.repository.layout import CROP_RULE_NAME
from deepfake_triton.repository.approval import accept
from deepfake_triton.serving.process.runtime_folder import sweep_leftovers
from deepfake_triton.serving.server import ServerOptions, TritonServer, require_repository

pytestmark = pytest.mark.triton


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_says_when_it_is_ready_and_leaves_nothing_behind(small_repository: Path, signum: int) -> None:
    with serving(small_repository) as served:
        process, grpc, http, metrics = served.process, served.grpc, served.http, served.metrics
        with urllib.request.urlopen(f"{http}/v2/health/ready", timeout=30) as answer:
            assert answer.status == 200
        with urllib.request.urlopen(metrics, timeout=30) as answer:
            assert b"nv_inference_request_success" in answer.read()
        host, port = grpc.split(":")
        with socket.create_connection((host, int(port)), timeout=5):
            pass
        children = descendants(process.pid)
        assert len(children) >= 3  # the server and a process for each instance
        process.send_signal(signum)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0 and "stopped" in out, err
        assert err == "", "at the log level `error`, nothing is to be said"
        assert not alive(children)


def test_a_stop_while_models_load_leaves_nothing_behind(published_repository: Path) -> None:
    process = subprocess.Popen(
        [COMMAND, "serve", str(published_repository), *FREE_PORTS],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert wait_until(lambda: len(descendants(process.pid)) >= 2)
    children = descendants(process.pid)
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 0 and wait_until(lambda: not alive(children), 5)


def test_a_killed_command_takes_the_server_with_it(
    small_repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    with serving(small_repository) as served:
        children = descendants(served.process.pid)
        served.process.kill()
        assert children and wait_until(lambda: not alive(children))
    left = list(temporary.glob("deepfake-*"))
    sweep_leftovers()
    assert left and list(temporary.glob("deepfake-*")) == left  # too young: it might just be starting
    sweep_leftovers(min_age_s=0)
    assert not list(temporary.glob("deepfake-*"))
    with TritonServer(ServerOptions.on_free_ports(small_repository)) as server:
        sweep_leftovers(min_age_s=0)  # a living server's folder is locked
        assert list(temporary.glob("deepfake-*")) and list(
            Path("/dev/shm").glob(f"{server.shared_memory_prefix}*")
        )
    assert not list(temporary.glob("deepfake-*"))


def test_tritons_log_level_is_passed_on(small_repository: Path) -> None:
    with serving(small_repository, "--log-level", "info") as served:
        served.process.terminate()
        _, err = served.process.communicate(timeout=60)
        assert "successfully loaded 'face_tracker'" in err


def test_what_is_no_repository_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    for name, says in (
        ("empty", "no model repository"),
        ("file", "is a file"),
        ("missing", "no such folder"),
    ):
        status, (line,) = run_serve(str(tmp_path / name))
        assert status == 1 and says in line
        with pytest.raises(InvalidRepository):
            require_repository(tmp_path / name)


def test_a_port_that_is_taken_is_named(small_repository: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        for option in ("--grpc-port", "--http-port", "--metrics-port"):
            status, (line,) = run_serve(str(small_repository), *FREE_PORTS, option, str(port))
            assert status == 1 and f"127.0.0.1:{port}" in line and "another port" in line
    with pytest.raises(PortInUse, match="three different"):
        TritonServer(ServerOptions(small_repository, grpc_port=9000, http_port=9000))


def test_a_model_that_fails_to_load_is_named_with_its_reason(small_repository: Path, tmp_path: Path) -> None:
    shutil.copytree(small_repository, tmp_path / "broken")
    (tmp_path / "broken" / "face_tracker" / "1" / CROP_RULE_NAME).write_text('{"sides": 3}')
    accept(tmp_path / "broken")
    status, lines = run_serve(str(tmp_path / "broken"), *FREE_PORTS)
    assert status == 1
    assert lines[-1].startswith("deepfake-triton: tritonserver ended while starting: model face_tracker")
    assert "sides" in lines[-1]


def test_a_config_that_triton_refuses_is_named(small_repository: Path, tmp_path: Path) -> None:
    shutil.copytree(small_repository, tmp_path / "broken")
    with (tmp_path / "broken" / "face_tracker" / "config.pbtxt").open("a") as config:
        config.write("\nno_such_field: 1\n")
    accept(tmp_path / "broken")
    status, lines = run_serve(str(tmp_path / "broken"), *FREE_PORTS)
    assert status == 1 and "face_tracker" in lines[-1]


def test_a_server_that_does_not_start_in_time_is_ended(small_repository: Path, tmp_path: Path) -> None:
    repository = shutil.copytree(small_repository, tmp_path / "slow")
    with (repository / "face_tracker" / "1" / "model.py").open("a") as model:
        model.write("\nTritonPythonModel.initialize = lambda self, args: time.sleep(120)\n")
    accept(repository)
    server = TritonServer(replace(ServerOptions.on_free_ports(repository), start_timeout_s=0.01))
    assert wait_until(lambda: len(descendants(server.process.pid)) >= 2)
    children = descendants(server.process.pid)
    with pytest.raises(ServerFailed, match=r"not ready after 0\.01 s"), server:
        pass
    assert server.process.poll() is not None and wait_until(lambda: not alive(children), 5)


def test_without_model_control_no_client_unloads_a_model(published_server: TritonServer) -> None:
    server = published_server
    with tritonclient.grpc.InferenceServerClient(server.url) as connection:
        with pytest.raises(InferenceServerException):
            connection.unload_model("face_tracker")
        request = urllib.request.Request(
            f"http://127.0.0.1:{server.http_port}/v2/repository/models/face_tracker/unload",
            b"",
            method="POST",
        )
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(request, timeout=30)
        assert connection.is_model_ready("face_tracker")


def test_work_that_was_accepted_is_finished_before_the_end(published_repository: Path) -> None:
    """SIGTERM while requests wait in the detector's queue: they are answered, and no new one is taken."""
    frames = FrameBatch(np.zeros((20, 360, 640, 3), np.uint8), np.arange(20.0), 20.0)
    with serving(published_repository) as served:
        process = served.process
        once = RetryPolicy(attempts=1)  # no waiting for a server that ends
        with (
            DeepfakeClient(served.grpc, timeout_s=60, retry=once) as client,
            ThreadPoolExecutor(9) as pool,
        ):
            client.model()
            calls = [pool.submit(client.faces, frames) for _ in range(9)]
            assert wait_until(lambda: pending_requests(served.metrics, "face_detector") >= 3)
            waiting = pending_requests(served.metrics, "face_detector")
            process.terminate()
            answered = [call.result() for call in calls if call.exception() is None]
            assert len(answered) >= max(1, waiting)
            assert all(faces == () for faces in answered)  # black frames show no face: an answer, too
            assert all(isinstance(call.exception(), ServerError | type(None)) for call in calls)
            with pytest.raises(ServerError):
                client.faces(frames)
        process.communicate(timeout=60)
        assert process.returncode == 0


def test_shared_memory_of_a_killed_server_is_swept(small_repository: Path) -> None:
    options = ServerOptions.on_free_ports(small_repository)
    with TritonServer(options) as server:
        regions = f"{server.shared_memory_prefix}*"
        assert list(Path("/dev/shm").glob(regions))
        server.process.kill()
        server.process.wait()
    assert not list(Path("/dev/shm").glob(regions))


def test_a_server_that_hangs_is_ended_in_time(
    small_repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deepfake_triton.serving.server.DRAIN_TIMEOUT_S", 1)
    monkeypatch.setattr("deepfake_triton.serving.server.CLOSE_TIMEOUT_S", 2)
    with TritonServer(ServerOptions.on_free_ports(small_repository)) as server:
        server.process.send_signal(signal.SIGSTOP)
        began_s = time.monotonic()
        server.close()
        waited_s = time.monotonic() - began_s
    assert server.process.returncode == -signal.SIGKILL
    assert waited_s < 12, "a drain without an answer uses the server's time, too"


def test_a_server_that_has_answered_all_is_not_waited_for(small_repository: Path) -> None:
    """Triton would unload instance by instance, a second each."""
    with TritonServer(ServerOptions.on_free_ports(small_repository)) as server:
        steps = descendants(server.process.pid)
        assert len(steps) == 2
    assert server.process.returncode == -signal.SIGKILL
    assert not alive(steps) and not list(Path("/dev/shm").glob(f"{server.shared_memory_prefix}*"))
