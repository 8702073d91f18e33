"""A Triton in a folder of NVIDIA's layout: `serve` keeps its promises with it, and refuses an unfit one."""

from __future__ import annotations

import os
import shutil
import signal
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import tritonclient.grpc
from serve_command import alive, descendants, pending_requests, run_serve, serving, wait_until
from triton_folder import OTHER_PYTHON, PYTHON, container_layout, stub_of_another_python
from tritonclient.utils import InferenceServerException

from deepfake_triton.client import DeepfakeClient, FrameBatch, RetryPolicy
from deepfake_triton.errors import InvalidInstallation, ServerFailed
from deepfake_triton.serving.installation import find
from deepfake_triton.serving.installation.find import find_installation
from deepfake_triton.serving.installation.folder import TritonFolder, triton_in
from deepfake_triton.serving.process.watch import running_steps
from deepfake_triton.serving.server import ServerOptions, TritonServer


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return container_layout(tmp_path_factory.mktemp("opt") / "tritonserver")


def command_line(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")


@pytest.mark.triton
def test_it_is_started_watched_restarted_and_ended(layout: Path, small_repository: Path) -> None:
    with serving(small_repository, "--triton", str(layout)) as served:
        assert "trust    Triton 2.51.0 has known faults" in served.said
        first = served.triton
        arguments = command_line(first)
        assert arguments[0] == str(layout / "bin" / "tritonserver")
        assert f"--backend-directory={layout / 'backends'}" in arguments
        step = min(running_steps(first))
        assert command_line(step)[0] == str(layout / "backends" / "python" / "triton_python_backend_stub")
        with tritonclient.grpc.InferenceServerClient(served.grpc) as client:
            with pytest.raises(InferenceServerException, match="restricted"):
                client.unload_model("face_tracker")
            os.kill(step, signal.SIGKILL)
            assert wait_until(lambda: first not in alive({first}))
            assert wait_until(lambda: _is_ready(client))
        assert served.triton != first
        everything = descendants(served.process.pid)
        served.process.terminate()
        assert served.process.wait(60) == 0 and not alive(everything)


def _is_ready(client: tritonclient.grpc.InferenceServerClient) -> bool:
    try:
        return bool(client.is_model_ready("face_tracker"))
    except InferenceServerException:
        return False


@pytest.mark.triton
def test_it_gives_the_wheels_verdicts_and_finishes_what_it_has(
    layout: Path, published_repository: Path, published_server: TritonServer, clip_frames: FrameBatch
) -> None:
    with DeepfakeClient(published_server.url) as client:
        (expected,) = client.faces(clip_frames)
    once = RetryPolicy(attempts=1)  # no waiting for a server that ends
    with (
        serving(published_repository, "--triton", str(layout)) as served,
        DeepfakeClient(served.grpc, timeout_s=60, retry=once) as client,
        ThreadPoolExecutor(8) as pool,
    ):
        client.model()
        calls = [pool.submit(client.faces, clip_frames) for _ in range(8)]
        assert wait_until(lambda: pending_requests(served.metrics, "face_detector") >= 2)
        waiting = pending_requests(served.metrics, "face_detector")
        served.process.terminate()
        verdicts = [call.result() for call in calls if call.exception() is None]
        served.process.communicate(timeout=60)
        assert served.process.returncode == 0
    assert len(verdicts) >= max(1, waiting)
    for (verdict,) in verdicts:
        assert verdict.fake_probability == pytest.approx(expected.fake_probability, abs=1e-6)


def without(part: str) -> Callable[[Path], None]:
    return lambda folder: (folder / part).unlink()


def not_executable(folder: Path) -> None:
    path = folder / "backends" / "python" / "triton_python_backend_stub"
    path.chmod(path.stat().st_mode & ~(stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH))


def another_python(folder: Path) -> None:
    shutil.copy2(stub_of_another_python(), folder / "backends" / "python")


def another_program(folder: Path) -> None:
    (folder / "bin" / "tritonserver").unlink()
    (folder / "bin" / "tritonserver").write_text("#!/bin/sh\nexit 3\n")
    (folder / "bin" / "tritonserver").chmod(0o755)


UNFIT: dict[str, tuple[Callable[[Path], None], str]] = {
    "no-server": (without("bin/tritonserver"), "it has no bin/tritonserver; expected a folder with bin/tri"),
    "no-backend": (
        without("backends/python/libtriton_python.so"),
        "it has no backends/python/libtriton_python.so; expected",
    ),
    "not-executable": (not_executable, "is no program that this user may run"),
    "another-python": (another_python, f"runs Python {OTHER_PYTHON}, this is Python {PYTHON}: install"),
    "another-program": (another_program, "lists no options of a tritonserver (status 3): it says nothing"),
}


@pytest.mark.triton
@pytest.mark.parametrize("fault", UNFIT)
def test_a_folder_that_cannot_serve_is_refused_with_what_was_expected(
    fault: str, small_repository: Path, tmp_path: Path
) -> None:
    spoil, reason = UNFIT[fault]
    folder = container_layout(tmp_path / "tritonserver")
    spoil(folder)
    status, errors = run_serve(str(small_repository), "--triton", str(folder))
    assert status == 1 and len(errors) == 1 and reason in errors[0] and str(folder) in errors[0], errors


@pytest.mark.fast
def test_a_path_that_a_shell_would_read_and_one_that_is_not_there(tmp_path: Path) -> None:
    folder = container_layout(tmp_path / "triton server")
    with pytest.raises(InvalidInstallation, match="expected a path of letters, digits"):
        triton_in(folder)
    with pytest.raises(
        InvalidInstallation, match=r"no such folder; expected one with bin/tritonserver.*auto"
    ):
        triton_in(tmp_path / "none")


@pytest.mark.fast
def test_auto_takes_the_container_where_there_is_no_wheel(
    layout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    monkeypatch.setattr(find, "CONTAINER_FOLDER", layout)
    found = find_installation()
    assert isinstance(found, TritonFolder) and found.executable == layout / "bin" / "tritonserver"


def other_version(layout: Path, folder: Path, edit: str) -> TritonFolder:
    """The same Triton, whose help another version's options are put into or taken from."""
    shutil.copytree(layout, folder, symlinks=True)
    program = folder / "bin" / "tritonserver"
    program.unlink()
    program.write_text(f"#!/bin/sh\n{layout / 'bin' / 'tritonserver'} \"$@\" 2>&1 | sed '{edit}'\n")
    program.chmod(0o755)
    return triton_in(folder)


@pytest.mark.fast
def test_options_are_those_of_the_version(layout: Path, tmp_path: Path) -> None:
    wanted = ["--grpc-max-connection-age=1", "--http-max-input-size=2", "--http-restricted-api=trace:a=b"]
    assert triton_in(layout).accepted(wanted) == [wanted[0], wanted[2]]
    newer = other_version(layout, tmp_path / "newer", "s/--http-port/--http-max-input-size <integer>\\n&/")
    assert newer.accepted(wanted) == wanted
    older = other_version(layout, tmp_path / "older", "s/--grpc-max-connection-age/--else/")
    assert older.accepted(wanted) == [wanted[2]]
    oldest = other_version(layout, tmp_path / "oldest", "s/--http-restricted-api/--else/")
    with pytest.raises(InvalidInstallation, match=r"no option --http-restricted-api.*expected release 2\.51"):
        oldest.accepted(wanted)


ABORTING = """#!/bin/sh
case "$*" in *--help*) exec {real} "$@" ;; esac
if [ "$(wc -l < {starts})" -lt {times} ]; then
    echo started >> {starts}
    echo "  what():  {reason}"
    kill -ABRT $$
fi
exec {real} "$@"
"""


def aborting_layout(folder: Path, *, times: int, reason: str) -> Path:
    """A Triton that aborts the first few times that it is started, and says why."""
    made = container_layout(folder / "tritonserver")
    program, starts = made / "bin" / "tritonserver", folder / "starts"
    starts.touch()
    real = program.rename(program.with_name("real"))
    program.write_text(ABORTING.format(real=real, starts=starts, times=times, reason=reason))
    program.chmod(0o755)
    return made


@pytest.mark.triton
def test_a_triton_that_loses_a_lock_while_it_starts_is_started_again(
    small_repository: Path, tmp_path: Path
) -> None:
    made = aborting_layout(tmp_path, times=2, reason="boost::interprocess::lock_exception")
    options = replace(ServerOptions.on_free_ports(small_repository), triton=made)
    with TritonServer(options) as server:
        with tritonclient.grpc.InferenceServerClient(server.url) as client:
            assert client.is_model_ready("face_tracker")
        steps = running_steps(server.process.pid)
    assert not alive(steps) and not list(Path("/dev/shm").glob(f"{server.shared_memory_prefix}*"))


@pytest.mark.triton
@pytest.mark.parametrize(
    ("times", "reason", "starts"),
    [(9, "boost::interprocess::lock_exception", 3), (9, "std::bad_alloc", 1)],
    ids=["again and again", "another reason"],
)
def test_one_that_aborts_otherwise_or_too_often_is_an_error(
    *, small_repository: Path, tmp_path: Path, times: int, reason: str, starts: int
) -> None:
    made = aborting_layout(tmp_path, times=times, reason=reason)
    options = replace(ServerOptions.on_free_ports(small_repository), triton=made)
    with pytest.raises(ServerFailed, match="ended while starting: by SIGABRT"), TritonServer(options):
        pass
    assert (tmp_path / "starts").read_text().count("started") == starts
