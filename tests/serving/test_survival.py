"""A tritonserver that dies, is paused or loses its models: `serve` has it back on the same ports."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest
from serve_command import Served, descendants, serving, until_ready, wait_until

from deepfake_triton.serving import server as server_module
from deepfake_triton.serving import supervisor
from deepfake_triton.serving.http_api import HttpApi
from deepfake_triton.serving.server import ServerOptions, TritonServer

pytestmark = pytest.mark.triton


def answers(served: Served) -> bool:
    try:
        with urllib.request.urlopen(f"{served.http}/v2/models/face_tracker/ready", timeout=30) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def killed(served: Served, signum: int) -> Served:
    """The server after its tritonserver was ended by a signal."""
    before, regions = served.triton, own_regions(served)
    assert regions
    os.kill(before, signum)
    again = until_ready(served.process)
    assert (again.grpc, again.http, again.metrics) == (served.grpc, served.http, served.metrics)
    assert again.triton != before and answers(again)
    assert not any(region.exists() for region in regions)
    return again


def own_regions(served: Served) -> list[Path]:
    """The shared memory of its tritonserver."""
    command_line = Path(f"/proc/{served.triton}/cmdline").read_text()
    found = re.search(r"shm-region-prefix-name=([\w-]+)", command_line)
    assert found
    return list(Path("/dev/shm").glob(f"{found[1]}*"))


def pause(served: Served, pause_s: float) -> None:
    """Stop everything, as a container that is frozen, and let it go on."""
    everything = [served.process.pid, *descendants(served.process.pid)]
    for pid in everything:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(pause_s)
    for pid in everything:
        os.kill(pid, signal.SIGCONT)


def test_a_triton_that_was_ended_by_a_signal_comes_back_but_not_for_ever(small_repository: Path) -> None:
    with serving(small_repository) as first:
        served = killed(first, signal.SIGSEGV)
        before = served.triton
        pause(served, 5)
        time.sleep(3)
        assert served.triton == before and answers(served)
        served = killed(served, signal.SIGKILL)  # as the kernel does when memory is short
        served = killed(served, signal.SIGABRT)
        os.kill(served.triton, signal.SIGSEGV)
        _, errors = served.process.communicate(timeout=60)
    assert served.process.returncode == 1
    for name in ("SIGSEGV", "SIGKILL", "SIGABRT"):
        assert f"tritonserver was ended by {name}: starting it again" in errors
    assert f"ended by SIGSEGV; {supervisor.MAX_LOSSES + 1} times in 600 s" in errors.splitlines()[-1]


def test_a_triton_that_was_asked_to_end_is_not_started_again(small_repository: Path) -> None:
    with serving(small_repository) as served:
        os.kill(served.triton, signal.SIGTERM)
        _, errors = served.process.communicate(timeout=60)
        assert served.process.returncode == 1 and "ended by itself, in good order" in errors


def options(repository: Path, **others: object) -> ServerOptions:
    return replace(ServerOptions.on_free_ports(repository), **others)  # type: ignore[arg-type]


@pytest.fixture
def frequent_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "CHECK_S", 0.3)


@pytest.mark.usefixtures("frequent_checks")
def test_models_that_somebody_unloaded_are_noticed(small_repository: Path) -> None:
    with TritonServer(options(small_repository)) as server:
        api = HttpApi("127.0.0.1", server.http_port, server.access.secret)
        threading.Timer(0.7, api.unload, ["face_tracker"]).start()
        reason = server.wait()
        assert reason is not None and "face_tracker was unloaded" in reason


@pytest.mark.usefixtures("frequent_checks")
def test_where_clients_may_unload_models_it_is_no_loss(small_repository: Path) -> None:
    with TritonServer(options(small_repository, model_control="explicit")) as server:
        api = HttpApi("127.0.0.1", server.http_port, secret="")
        reasons: list[str | None] = []
        watching = threading.Thread(target=lambda: reasons.append(server.wait()))
        watching.start()
        time.sleep(0.5)
        api.unload("face_tracker")
        assert wait_until(lambda: api.loaded_models() == set())
        time.sleep(1.5)  # more checks than a lost model is granted
        assert server.process.poll() is None and watching.is_alive()
        assert api.load("face_tracker") is None
        server.process.terminate()
        watching.join(60)
        assert reasons == [None]
