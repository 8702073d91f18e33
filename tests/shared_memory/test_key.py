"""The key of shared memory: made once, kept from others, sent to servers of the same user only."""

from __future__ import annotations

import os
import re
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from deepfake_triton.errors import SharedMemoryKeyUnusable
from deepfake_triton.shared_memory.key import key_for_endpoint, key_path, user_key

pytestmark = pytest.mark.fast
OTHER_USER = 65534
LISTEN_AS_OTHER = f"""
import os, socket, sys
os.setgroups([]); os.setgid({OTHER_USER}); os.setuid({OTHER_USER})
listening = socket.create_server((sys.argv[1], int(sys.argv[2])), family=int(sys.argv[3]))
print(listening.getsockname()[1], flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def state_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "state"
    monkeypatch.setenv("XDG_STATE_HOME", str(home))
    return home


@contextmanager
def listening_as_other(host: str, port: int = 0, family: int = socket.AF_INET) -> Iterator[int]:
    """A port of that address on which another user listens."""
    if os.geteuid():
        pytest.skip("only root can listen as another user")
    command = [sys.executable, "-I", "-c", LISTEN_AS_OTHER, host, str(port), str(family)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None and process.stdin is not None
        yield int(process.stdout.readline())
        process.stdin.close()


def test_the_key_is_made_once_for_this_user_alone(state_home: Path) -> None:
    key = user_key()
    assert re.fullmatch(r"[A-Za-z0-9_-]{40,}", key) and user_key() == key
    assert key_path() == state_home / "deepfake-triton" / "shared_memory_key"
    assert stat.S_IMODE(key_path().stat().st_mode) == 0o600
    assert stat.S_IMODE(key_path().parent.stat().st_mode) == 0o700
    assert list(key_path().parent.iterdir()) == [key_path()]


def test_many_who_make_it_at_once_get_the_same() -> None:
    with ThreadPoolExecutor(16) as pool:
        assert len(set(pool.map(lambda _: user_key(), range(64)))) == 1


def test_without_the_variable_it_stands_below_the_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somewhere")
    for named in ("", "relative/state"):
        monkeypatch.setenv("XDG_STATE_HOME", named)
        assert key_path() == Path("/somewhere/.local/state/deepfake-triton/shared_memory_key")


def _readable_by_others(path: Path) -> None:
    path.chmod(0o640)


def _in_a_folder_of_others(path: Path) -> None:
    path.parent.chmod(0o750)


def _behind_a_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def _in_a_linked_folder(path: Path) -> None:
    path.parent.rename(path.parent.with_name("elsewhere"))
    path.parent.symlink_to("elsewhere")


def _a_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


def _empty(path: Path) -> None:
    path.write_text("")


def _with_a_space(path: Path) -> None:
    path.write_text("two words")


def _of_another_user(path: Path) -> None:
    if os.geteuid():
        pytest.skip("only root can give a file away")
    os.chown(path, OTHER_USER, OTHER_USER)


@pytest.mark.parametrize(
    "spoil",
    [_readable_by_others, _in_a_folder_of_others, _behind_a_link, _in_a_linked_folder, _a_fifo, _empty,
     _with_a_space, _of_another_user],
)  # fmt: skip
def test_a_file_that_is_not_this_users_alone_is_refused(spoil: Callable[[Path], None]) -> None:
    user_key()
    spoil(key_path())
    with pytest.raises(SharedMemoryKeyUnusable, match=str(key_path().parent)):
        user_key()
    with socket.create_server(("127.0.0.1", 0)) as own:
        assert key_for_endpoint("127.0.0.1", own.getsockname()[1]) is None


def test_a_state_folder_that_cannot_be_made_is_said(state_home: Path) -> None:
    state_home.write_text("a file")
    with pytest.raises(SharedMemoryKeyUnusable, match="cannot keep a key"):
        user_key()


@pytest.mark.parametrize(
    ("listens", "asked"),
    [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("127.0.0.1", "localhost"), ("::1", "[::1]"),
     ("::", "127.0.0.1")],
)  # fmt: skip
def test_an_endpoint_of_this_user_gets_the_key(listens: str, asked: str) -> None:
    family = socket.AF_INET6 if ":" in listens else socket.AF_INET
    if family == socket.AF_INET6 and not Path("/proc/net/if_inet6").exists():
        pytest.skip("no IPv6 here")
    dual = listens == "::" and socket.has_dualstack_ipv6()
    with socket.create_server((listens, 0), family=family, dualstack_ipv6=dual) as own:
        port = own.getsockname()[1]
        assert key_for_endpoint(asked, port) is None and not key_path().exists()  # clients make none
        key = user_key()
        assert key_for_endpoint(asked, port) == key


def test_nobody_else_gets_it() -> None:
    user_key()
    assert key_for_endpoint("127.0.0.1", 9) is None  # nobody listens
    with socket.create_server(("0.0.0.0", 0)) as own:
        port = own.getsockname()[1]
        assert key_for_endpoint("192.0.2.1", port) is None  # another host
        assert key_for_endpoint("no such name", port) is None
    with listening_as_other("127.0.0.1") as port:
        assert key_for_endpoint("127.0.0.1", port) is None


def test_a_name_that_may_lead_to_another_user_gets_none() -> None:
    """A client that connects to localhost takes ::1 or 127.0.0.1, whichever answers first."""
    addresses = {info[4][0] for info in socket.getaddrinfo("localhost", None)}
    if not {"::1", "127.0.0.1"} <= addresses or not Path("/proc/net/if_inet6").exists():
        pytest.skip("localhost has one address here")
    user_key()
    with socket.create_server(("127.0.0.1", 0)) as own:
        port = own.getsockname()[1]
        with listening_as_other("::1", port, socket.AF_INET6):
            assert key_for_endpoint("localhost", port) is None
            assert key_for_endpoint("127.0.0.1", port) == user_key()
