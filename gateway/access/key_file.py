"""The file of hashed API keys: read, looked up, read again when it changes, and written to."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import logging
import os
import re
import secrets
import stat
import time
from pathlib import Path

from limits import RateLimitItem, parse

from deepfake_triton.errors import InvalidOption
from deepfake_triton.gateway.access.callers import ApiKey

LOGGER = logging.getLogger("deepfake_triton.gateway")
KEY_PREFIX = "dft_"
_KEY_BYTES = 32
_RECHECK_S = 1.0
_REPEAT_S = 60.0
"""Seconds after which a fault that is still there is logged again."""
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_NAME_RULE = "the name has other characters than letters, digits and ._-, or more than 64"
_FORM = "expected NAME:SHA256[:RATE][:JOBS], such as newsroom:9f86…0a08:60/minute:4"


def hash_of_key(key: str) -> str:
    """Return the SHA-256 of a key in hexadecimal. Keys are random, so that a slow hash would add nothing."""
    return hashlib.sha256(key.encode()).hexdigest()


class KeyFile:
    """The API keys of a file, which may change while the gateway runs.

    Raises:
        InvalidOption: The file is missing, or a line is malformed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp = _stamp(path)
        self._keys = read_keys(path)
        self._faults: tuple[str, ...] = ()
        self._checked_at = self._told_at = time.monotonic()
        _warn_if_readable(path)
        if not self._keys:
            LOGGER.warning("--api-keys %s: holds no key, so that nobody may ask; add one", path)

    def find(self, key: str) -> ApiKey | None:
        """Return the line of a key; every line is compared, in constant time."""
        got, found = hash_of_key(key), None
        for line in self._current():
            if hmac.compare_digest(line.sha256, got):
                found = line
        return found

    def named(self, name: str) -> ApiKey | None:
        """Return the line of this name."""
        return next((line for line in self._current() if line.name == name), None)

    def _current(self) -> tuple[ApiKey, ...]:
        """Read the file again if it has changed. Only what stands in it now is in force, so that a line that
        was removed is revoked whatever else is wrong: without the file, no key is valid."""
        now = time.monotonic()
        if now - self._checked_at >= _RECHECK_S:
            self._checked_at = now
            stamp = _stamp(self.path)
            if is_new := stamp != self._stamp:
                self._stamp = stamp
                self._keys, self._faults = _parsed(self.path)
                _warn_if_readable(self.path)
            if self._faults and (is_new or now - self._told_at >= _REPEAT_S):
                self._told_at = now
                for fault in self._faults:
                    LOGGER.error("%s; %s", fault, "no key is valid" if not self._keys else "it is left out")
        return self._keys


def read_keys(path: Path) -> tuple[ApiKey, ...]:
    """Read a file of keys; blank lines and those that start with # are skipped. Raises InvalidOption."""
    keys, faults = _parsed(path)
    if faults:
        raise InvalidOption(faults[0])
    return keys


def _parsed(path: Path) -> tuple[tuple[ApiKey, ...], tuple[str, ...]]:
    """Return the keys of a file, and its faults: each malformed line, or that it cannot be read."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no UTF-8 text"
        return (), (f"--api-keys {path}: cannot be read ({reason}); make one with --new-api-key NAME",)
    keys: dict[str, ApiKey] = {}
    faults = []
    for number, line in enumerate(map(str.strip, lines), 1):
        if not line or line.startswith("#"):
            continue
        try:
            key = key_from_line(line)
        except ValueError as error:
            faults.append(f"--api-keys {path}, line {number}: {error}; {_FORM}")
            continue
        if key.name in keys:
            faults.append(f"--api-keys {path}, line {number}: a second key named {key.name}")
            continue
        keys[key.name] = key
    return tuple(keys.values()), tuple(faults)


def key_from_line(line: str) -> ApiKey:
    """Parse `name:sha256[:rate][:jobs]`; an empty rate is none. Raises ValueError."""
    name, digest, rate, jobs, *rest = [*line.split(":"), "", "", ""][: max(4, line.count(":") + 1)]
    if rest:
        raise ValueError(f"got {4 + len(rest)} fields")
    if not _NAME.fullmatch(name):
        raise ValueError(_NAME_RULE)
    digest = digest.lower()
    if not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise ValueError("no SHA-256 in hexadecimal")
    if jobs and not (jobs.isascii() and jobs.isdigit() and int(jobs) > 0):
        raise ValueError(f"jobs at once: got {jobs!r}")
    return ApiKey(name, digest, _rate(rate) if rate else None, int(jobs) if jobs else None)


def create_key(path: Path, name: str, *, rate: str = "", max_jobs: int | None = None) -> str:
    """Add a new key to a file, which is created readable by its owner alone, and return it: it is not stored
    and cannot be shown again.

    Raises:
        InvalidOption: The name or the rate is malformed, or the file has such a name already.
    """
    if not _NAME.fullmatch(name):
        raise InvalidOption(f"--new-api-key {name}: {_NAME_RULE}")
    key = KEY_PREFIX + secrets.token_urlsafe(_KEY_BYTES)
    line = f"{name}:{hash_of_key(key)}:{rate}:{max_jobs or ''}".rstrip(":")
    try:
        key_from_line(line)
    except ValueError as error:
        raise InvalidOption(f"--new-api-key {name}: {error}") from error
    if path.exists() and any(known.name == name for known in read_keys(path)):
        raise InvalidOption(f"--new-api-key {name}: {path} has a key of that name; remove its line first")
    try:
        before = path.read_bytes() if path.exists() else b""
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "w") as file:
            file.write(f"\n{line}\n" if before and not before.endswith(b"\n") else f"{line}\n")
    except OSError as error:
        raise InvalidOption(f"--api-keys {path}: cannot be written ({error.strerror})") from error
    return key


def _rate(text: str) -> RateLimitItem:
    try:
        return parse(text)
    except ValueError as error:
        raise ValueError(f"rate: got {text!r}, expected such as 60/minute") from error


def _stamp(path: Path) -> tuple[int, int, int, int] | None:
    with contextlib.suppress(OSError):
        found = path.stat()
        return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino
    return None


def _warn_if_readable(path: Path) -> None:
    with contextlib.suppress(OSError):
        if path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
            LOGGER.warning("--api-keys %s: other users can read it; chmod 600", path)
