"""What another user of the host sees of a server, and can do to it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from serve_command import OTHER_USER, descendants, serving
from tritonclient import grpc
from tritonclient.utils import InferenceServerException

from deepfake_triton.contracts import SHARED_MEMORY_KEY, SHARED_MEMORY_KEY_VARIABLE
from deepfake_triton.serving.process.runtime_folder import RuntimeFolder
from deepfake_triton.serving.server import ServerOptions, TritonServer
from deepfake_triton.shared_memory.key import key_for_endpoint, key_path, user_key

pytestmark = [
    pytest.mark.triton,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user"),
]
GET_LOST = f"""
import glob, json, os, select, sys  # before the folders of this Python are out of reach
os.setgroups([]); os.setgid({OTHER_USER}); os.setuid({OTHER_USER})
"""
READ_COMMAND_LINES = """
seen = set()
print("reading", flush=True)
while not select.select([sys.stdin], [], [], 0.001)[0]:
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            seen.add(open(path).read())
        except (OSError, UnicodeDecodeError):
            pass
print(json.dumps([line for line in seen if "triton" in line]))
"""
LOOK_AROUND = """
prefix, pid = sys.argv[1:]
found = {"regions": sorted(glob.glob(f"/dev/shm/{prefix}*")), "read": []}
for path in [*found["regions"], f"/proc/{pid}/environ", f"/proc/{pid}/mem"]:
    try:
        open(path, "rb").read(1)
        found["read"].append(path)
    except OSError:
        pass
print(json.dumps(found))
"""
REFUSE_PTRACE = """
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
asked = int(sys.argv.pop(1))  # one request of ptrace, or every one
steps = [(0x20, 0, 0, 0), (0x15, 0, 3, 101), (0x20, 0, 0, 16)]
steps += [(0x15, 0, 1, asked) if asked >= 0 else (0x35, 0, 1, 0)]
steps += [(6, 0, 0, 0x00050001), (6, 0, 0, 0x7fff0000)]
code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
class Filter(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("program", ctypes.c_void_p))
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(Filter(len(steps), ctypes.addressof(code))), 0, 0) == 0
os.execv(sys.argv[1], sys.argv[1:])
"""


def as_other(code: str, *arguments: str) -> object:
    """What the code prints, as JSON, when another user runs it."""
    command = [sys.executable, "-I", "-c", GET_LOST + code, *arguments]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@contextmanager
def reading_command_lines() -> Iterator[list[str]]:
    """All command lines of the host that another user catches meanwhile, when it is over."""
    command = [sys.executable, "-I", "-c", GET_LOST + READ_COMMAND_LINES]
    caught: list[str] = []
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout is not None and reader.stdout.readline() == "reading\n"
        try:
            yield caught
        finally:
            out, _ = reader.communicate("enough\n")
            caught += json.loads(out)


@pytest.fixture(scope="module", autouse=True)
def state_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@dataclass(frozen=True)
class Seen:
    """A server, and what command lines another user caught while it started."""

    server: TritonServer
    command_lines: list[str]


@pytest.fixture(scope="module")
def seen(small_repository: Path) -> Iterator[Seen]:
    options = ServerOptions.on_free_ports(small_repository)
    with ExitStack() as stack:
        with reading_command_lines() as caught:
            server = stack.enter_context(TritonServer(options))
            time.sleep(1)
        yield Seen(server, caught)


def test_no_command_line_ever_shows_a_secret(seen: Seen) -> None:
    secrets = [seen.server.access.secret, seen.server.access.shared_memory_key]
    assert secrets[1] == user_key()
    own = [line for line in seen.command_lines if seen.server.shared_memory_prefix in line]
    assert any("--http-restricted-api=" in line for line in own) and any("stub" in line for line in own)
    assert not any(secret in line for secret in secrets for line in seen.command_lines if secret)
    assert not any(secret in repr(seen.server.access) for secret in secrets if secret)


def test_nobody_else_reads_its_memory_or_unloads_a_model(seen: Seen) -> None:
    server, pid = seen.server, seen.server.process.pid
    found = as_other(LOOK_AROUND, server.shared_memory_prefix, str(pid))
    assert isinstance(found, dict) and len(found["regions"]) == 2 and found["read"] == []
    assert Path(found["regions"][0]).stat().st_mode & 0o777 == 0o600
    assert server.access.secret in Path(f"/proc/{pid}/environ").read_text()
    children = descendants(pid)
    assert len(children) == 2
    for child in children:  # what it starts has none of its secrets
        environment = Path(f"/proc/{child}/environ").read_text()
        assert server.access.secret not in environment and user_key() not in environment
    with grpc.InferenceServerClient(server.url) as connection:
        for headers in ({}, {"triton-grpc-protocol-deepfake-triton-secret": "guessed"}):
            with pytest.raises(InferenceServerException, match="restricted"):
                connection.unload_model("face_tracker", headers=headers)
        assert connection.is_model_ready("face_tracker")


def test_shared_memory_opens_with_the_key_of_this_user_alone(seen: Seen) -> None:
    name = f"triton-grpc-protocol-{SHARED_MEMORY_KEY}"
    with grpc.InferenceServerClient(seen.server.url) as connection:
        key = key_for_endpoint("127.0.0.1", seen.server.grpc_port)
        assert key == user_key()
        assert not connection.get_system_shared_memory_status(headers={name: key}).regions
        for headers in ({}, {name: "guessed"}):
            with pytest.raises(InferenceServerException, match="restricted"):
                connection.get_system_shared_memory_status(headers=headers)
            with pytest.raises(InferenceServerException, match="restricted"):
                connection.unregister_system_shared_memory(headers=headers)
    code = f"print(json.dumps(open({str(key_path())!r}).read()))"
    with pytest.raises(subprocess.CalledProcessError):
        as_other(code)


def test_without_a_place_for_a_key_shared_memory_is_closed_and_it_is_said(
    small_repository: Path,
) -> None:
    with serving(small_repository, environment={"XDG_STATE_HOME": "/dev/null"}) as served:
        assert "shared memory" not in served.said
        with (
            grpc.InferenceServerClient(served.grpc) as connection,
            pytest.raises(InferenceServerException, match="restricted"),
        ):
            connection.get_system_shared_memory_status()
        served.process.terminate()
        assert "shared memory stays closed" in served.process.communicate(timeout=60)[1]


@pytest.mark.parametrize("refused", [-1, 17], ids=["ptrace", "its detaching"])
def test_where_ptrace_is_refused_the_secret_is_gone_once_it_was_read(
    small_repository: Path, refused: int
) -> None:
    launcher = [sys.executable, "-I", "-c", REFUSE_PTRACE, str(refused)]
    key = "let-me-in"
    with serving(
        small_repository, environment={SHARED_MEMORY_KEY_VARIABLE: key}, launcher=launcher
    ) as served:
        shown = Path(f"/proc/{served.triton}/cmdline").read_text()
        assert re.search(r"--http-restricted-api=\*+\0", shown) and "deepfake-triton-secret" not in shown
        assert key not in shown and "for holders of its key" in served.said
        for pid in descendants(served.process.pid):
            assert key not in Path(f"/proc/{pid}/environ").read_text()
        served.process.terminate()
        errors = served.process.communicate(timeout=60)[1]
        assert "ptrace is refused here" in errors and served.process.returncode == 0


def test_memory_that_was_opened_is_closed() -> None:
    folder = RuntimeFolder()
    region = Path("/dev/shm") / f"{folder.shared_memory_prefix}01234567-89ab-cdef-0123-456789abcdef"
    region.touch(0o644)
    region.chmod(0o644)
    assert folder.close_shared_memory() and region.stat().st_mode & 0o777 == 0o600
    assert not folder.close_shared_memory()
    folder.remove()
    assert not region.exists() and not folder.path.exists()
