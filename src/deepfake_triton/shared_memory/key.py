"""Key that grants this user access to the shared memory of servers, and denies it to other users of the host.

It is kept in a file that only this user can read, `deepfake-triton/shared_memory_key` below `$XDG_STATE_HOME`
or `~/.local/state`. `serve` creates it; a client sends it only to a server that runs as the same user, since
any process on a free port could collect it otherwise.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import re
import secrets
import socket
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

from deepfake_triton.errors import SharedMemoryKeyUnusable

FOLDER_NAME, FILE_NAME = "deepfake-triton", "shared_memory_key"
KEY_PATTERN = re.compile(r"[A-Za-z0-9_-]+")
"""Characters that Triton accepts in a header, and that no shell changes."""
_KEY_BYTES = 32
_MOST_FILE_BYTES = 1024
_LISTENS = "0A"
_SOCKET_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def user_key() -> str:
    """Return this user's key, from its file, which is created if missing.

    Raises SharedMemoryKeyUnusable if the file cannot be created, or if others own or can read it.
    """
    with _open_folder(create=True) as folder:
        try:
            return _read(folder)
        except FileNotFoundError:
            _create(folder)
            return _read(folder)


def key_for_endpoint(host: str, port: int) -> str | None:
    """Return this user's key if every listener at that loopback address belongs to this user, else None.

    None also if that is unknown, or there is no usable key. Call it right before the key is sent: a port
    whose server has ended is free for anyone.
    """
    if not _listens_as_this_user(host, port):
        return None
    try:
        with _open_folder(create=False) as folder:
            return _read(folder)
    except (OSError, SharedMemoryKeyUnusable):
        return None


def key_path() -> Path:
    """Return the path of the key. Raises SharedMemoryKeyUnusable for a user without a home folder."""
    state = Path(os.environ.get("XDG_STATE_HOME", ""))
    if state.is_absolute():  # a relative one is to be ignored, by the XDG specification
        return state / FOLDER_NAME / FILE_NAME
    try:
        return Path.home() / ".local" / "state" / FOLDER_NAME / FILE_NAME
    except RuntimeError as error:
        raise SharedMemoryKeyUnusable(f"this user has no home folder for a key file: {error}") from error


@contextlib.contextmanager
def _open_folder(*, create: bool) -> Iterator[int]:
    """Open the key's folder, which is no link and private to this user, as a descriptor."""
    path = key_path().parent
    try:
        if create:
            path.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                path.mkdir(mode=0o700)
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise SharedMemoryKeyUnusable(f"{path}: cannot keep a key ({error.strerror})") from error
    try:
        _require_private(path, os.fstat(descriptor))
        yield descriptor
    finally:
        os.close(descriptor)


def _read(folder: int) -> str:
    """Read the key. Raises FileNotFoundError, or SharedMemoryKeyUnusable for an unusable file."""
    path = key_path()
    try:
        # Not blocking, so that a FIFO in its place does not hang whoever reads it.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(FILE_NAME, flags, dir_fd=folder)
    except FileNotFoundError:
        raise
    except OSError as error:
        what = "is a link" if error.errno == errno.ELOOP else str(error.strerror)
        raise SharedMemoryKeyUnusable(f"{path}: cannot be read ({what}); remove it") from error
    try:
        found = os.fstat(descriptor)
        _require_private(path, found)
        if not stat.S_ISREG(found.st_mode):
            raise SharedMemoryKeyUnusable(f"{path}: is no regular file; remove it")
        text = os.read(descriptor, _MOST_FILE_BYTES).decode("ascii", "replace").strip()
    finally:
        os.close(descriptor)
    if not KEY_PATTERN.fullmatch(text):
        raise SharedMemoryKeyUnusable(
            f"{path}: got {len(text)} characters, expected letters, digits, - and _ only; remove it"
        )
    return text


def _create(folder: int) -> None:
    """Write a new key atomically; one that another process wrote meanwhile stays."""
    name = f".{FILE_NAME}.{secrets.token_hex(8)}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(name, flags, 0o600, dir_fd=folder)
        try:
            os.fchmod(descriptor, 0o600)
            os.write(descriptor, f"{secrets.token_urlsafe(_KEY_BYTES)}\n".encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        try:
            with contextlib.suppress(FileExistsError):
                os.link(name, FILE_NAME, src_dir_fd=folder, dst_dir_fd=folder)
        finally:
            os.unlink(name, dir_fd=folder)
    except OSError as error:
        raise SharedMemoryKeyUnusable(f"{key_path()}: cannot be written ({error.strerror})") from error


def _require_private(path: Path, found: os.stat_result) -> None:
    if found.st_uid != os.geteuid():
        raise SharedMemoryKeyUnusable(
            f"{path}: belongs to user {found.st_uid}, expected {os.geteuid()}; remove it"
        )
    if found.st_mode & 0o077:
        raise SharedMemoryKeyUnusable(
            f"{path}: mode {stat.S_IMODE(found.st_mode):o} lets others in; remove it, or chmod go= {path}"
        )


def _listens_as_this_user(host: str, port: int) -> bool:
    try:
        addresses = _addresses(host.strip("[]"))
        listeners = [uid for at, uid in _listeners(port) if at.is_unspecified or at in addresses]
        if not addresses or not all(address.is_loopback for address in addresses):
            return False
        return bool(listeners) and set(listeners) == {os.geteuid()} and _has_unique_user_id()
    except (OSError, ValueError):
        return False


def _addresses(host: str) -> set[_Address]:
    """Return all addresses of a name: a connection may take any of them."""
    return {_unmapped(info[4][0]) for info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}


def _listeners(port: int) -> Iterator[tuple[_Address, int]]:
    """Yield local address and user of each socket that listens on the port (proc_pid_net(5))."""
    for table in _SOCKET_TABLES:
        if table.exists():
            for line in table.read_text().splitlines()[1:]:
                _, local, _, state, _, _, _, uid, *_ = line.split()
                address, _, local_port = local.partition(":")
                if state == _LISTENS and int(local_port, 16) == port:
                    words = [int(address[start : start + 8], 16) for start in range(0, len(address), 8)]
                    yield _unmapped(struct.pack(f"={len(words)}I", *words)), int(uid)


def _unmapped(address: str | int | bytes) -> _Address:
    """Return the address, as IPv4 if it is mapped into IPv6."""
    found = ipaddress.ip_address(address)
    return (found.ipv4_mapped or found) if isinstance(found, ipaddress.IPv6Address) else found


def _has_unique_user_id() -> bool:
    """Whether this user's id is unique: in a user namespace, all unknown users share one."""
    overflow = int(Path("/proc/sys/kernel/overflowuid").read_text())
    every_user = Path("/proc/self/uid_map").read_text().split() == ["0", "0", str(2**32 - 1)]
    return every_user or os.geteuid() != overflow
