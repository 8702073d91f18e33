"""A server's own folder, and what is left of killed ones: nothing foreign is followed, opened or unlinked."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from deepfake_triton.errors import ServerFailed
from deepfake_triton.serving.process import runtime_folder as module
from deepfake_triton.serving.process.runtime_folder import RuntimeFolder, sweep_leftovers

pytestmark = pytest.mark.fast
OTHER_USER = 65534
UUID = "01234567-89ab-cdef-0123-456789abcdef"
LEFT = "deepfake-triton-server-left0000"


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary folder of the test's own, and nothing else to look at."""
    base = tmp_path / "tmp"
    base.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(base))
    monkeypatch.setattr(module, "_OTHER_BASES", ())
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    return base


def region(prefix: str, suffix: str = UUID) -> Path:
    path = Path("/dev/shm") / f"{prefix}{suffix}"
    path.touch(0o600)
    return path


def test_a_folder_that_nobody_locks_goes_with_its_memory(temporary: Path) -> None:
    (temporary / LEFT / "backends").mkdir(parents=True)
    memory = region(LEFT)
    sweep_leftovers()
    assert (temporary / LEFT).is_dir() and memory.exists(), "it is too young"
    sweep_leftovers(min_age_s=0)
    assert not (temporary / LEFT).exists() and not memory.exists()


def test_a_living_servers_folder_stays(temporary: Path) -> None:
    folder = RuntimeFolder()
    memory = region(folder.shared_memory_prefix)
    sweep_leftovers(min_age_s=0)
    assert folder.path.parent == temporary and folder.path.is_dir() and memory.exists()
    folder.remove()
    assert not folder.path.exists() and not memory.exists()


def test_a_process_that_inherited_the_lock_keeps_the_folder() -> None:
    folder = RuntimeFolder()
    command = [sys.executable, "-I", "-c", "import sys; sys.stdin.read()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[folder.lock]) as process:
        os.close(folder.lock)
        sweep_leftovers(min_age_s=0)
        assert folder.path.is_dir()
        process.communicate(b"")
    sweep_leftovers(min_age_s=0)
    assert not folder.path.exists()


def test_what_others_put_there_is_left_alone_and_holds_nobody_up(temporary: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").touch()
    living = region("deepfake-triton-server-", f"abcdefgh{UUID}")
    stranger = region("deepfake-triton-server-", "notes")
    prefixes = ("deepfake-triton-server-", "deepfake-triton-server-a", "deepfake-triton-server-left00001")
    for name in prefixes:
        (temporary / name).mkdir()
    (temporary / "deepfake-triton-server-link0000").symlink_to(precious)
    os.mkfifo(temporary / "deepfake-triton-server-fifo0000")
    (temporary / "deepfake-triton-server-file0000").touch()
    begun_s = time.monotonic()
    sweep_leftovers(min_age_s=0)
    assert time.monotonic() - begun_s < 20
    assert (precious / "file").exists() and living.exists() and stranger.exists()
    assert len(list(temporary.iterdir())) == len(prefixes) + 3
    living.unlink()
    stranger.unlink()


def test_a_folder_of_another_user_is_neither_taken_nor_locked(temporary: Path) -> None:
    if os.geteuid():
        pytest.skip("only root can give a folder away")
    temporary.chmod(0o1777)
    foreign = temporary / LEFT
    foreign.mkdir()
    os.chown(foreign, OTHER_USER, OTHER_USER)
    memory = region(LEFT)
    sweep_leftovers(min_age_s=0)
    assert foreign.is_dir() and memory.exists()
    os.chown(memory, OTHER_USER, OTHER_USER)
    os.chown(foreign, 0, 0)
    sweep_leftovers(min_age_s=0)
    assert not foreign.exists() and memory.exists(), "a region of another user"
    memory.unlink()


def test_models_are_linked_by_name_and_later_ones_are_added(tmp_path: Path) -> None:
    repository = tmp_path / "my $(touch x) repository"
    (repository / "one").mkdir(parents=True)
    folder = RuntimeFolder()
    folder.link_models(repository, ["one", "two"])
    assert [link.name for link in folder.models.iterdir()] == ["one"]
    (repository / "two").mkdir()
    folder.link_models(repository, ["one", "two"])
    assert {link.name: link.resolve() for link in folder.models.iterdir()} == {
        name: repository / name for name in ("one", "two")
    }
    folder.remove()
    assert (repository / "one").is_dir()


def test_the_next_place_is_taken_and_where_there_is_none_it_is_said(
    temporary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spaced = tmp_path / "my files"
    spaced.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(spaced))
    with pytest.raises(ServerFailed, match=r"my files has characters that a shell reads; name one in TMPDIR"):
        RuntimeFolder()
    monkeypatch.setattr(module, "_OTHER_BASES", (str(temporary),))
    folder = RuntimeFolder()
    assert folder.path.parent == temporary
    folder.remove()


MAKE_ONE = """
import sys, tempfile
from deepfake_triton.errors import ServerFailed
from deepfake_triton.serving.process import runtime_folder as folder
tempfile.tempdir, folder._OTHER_BASES = sys.argv[1], ()
try:
    folder.RuntimeFolder()
except ServerFailed as error:
    print(error)
"""


def test_a_place_without_exec_is_not_taken(temporary: Path) -> None:
    if os.geteuid():
        pytest.skip("only root can mount")
    mount = f'mount --make-rprivate / && mount -t tmpfs -o noexec none "{temporary}" && exec "$@"'
    command = ["unshare", "--mount", "sh", "-c", mount, "sh", sys.executable, "-c", MAKE_ONE, str(temporary)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"no mount namespace here: {done.stderr.strip()}")
    assert f"{temporary} is mounted noexec" in done.stdout and "TMPDIR" in done.stdout, done.stderr


def test_the_lock_is_held_at_once() -> None:
    folder = RuntimeFolder()
    descriptor = os.open(folder.path, os.O_RDONLY)
    with pytest.raises(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(descriptor)
    folder.remove()
