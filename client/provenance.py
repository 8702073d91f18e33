"""Read the Content Credentials (C2PA) of a file, without the network, in a process of its own."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any, BinaryIO

from deepfake_triton.client.verdicts.content_credentials import (
    REMOTE_MANIFEST,
    UNREADABLE,
    UNSUPPORTED_FORMAT,
    ContentCredentials,
    CredentialState,
)
from deepfake_triton.client.verdicts.manifest_store import credentials_from_store
from deepfake_triton.errors import InvalidOption, MissingDependency
from deepfake_triton.host.compute_only import compute_only_filter
from deepfake_triton.preprocessing.media.iso_boxes import boxes, payload

READ_TIMEOUT_S = 30.0
"""Wall time, and CPU time, of the process that reads: hashing takes 1.3 s for each GB."""
_MEMORY_BYTES = 2**30
_ANSWER_BYTES = 2**16

_C2PA_BOX = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
_XMP_BOX = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
_TRUST_VARIABLE = "DEEPFAKE_TRITON_C2PA_TRUST"
_MOVIE = "video/mp4"
"""Media type of everything made of boxes: MP4, QuickTime, HEIC, AVIF."""
_FIRST_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"uuid", b"pnot")


def is_installed() -> bool:
    """Return whether the extra `provenance` is."""
    from importlib.util import find_spec

    return find_spec("c2pa") is not None


def require_trust_anchors(path: Path) -> None:
    """Check a PEM file of trusted authorities. Raises InvalidOption, or MissingDependency."""
    read_trust_anchors(path)
    if not is_installed():
        raise MissingDependency("c2pa is not installed: pip install 'deepfake-triton[provenance]'")


def read_trust_anchors(path: Path) -> str:
    """Read a PEM file of certificate authorities. Raises InvalidOption where it holds none."""
    try:
        text = path.read_text("ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidOption(f"{path}: cannot be read as PEM: {error}") from error
    if "-----BEGIN CERTIFICATE-----" not in text:
        raise InvalidOption(f"{path}: holds no certificate; expected PEM of the authorities to trust")
    return text


def read_credentials(file: BinaryIO, trust_anchors: str | None = None) -> ContentCredentials | None:
    """Read the credentials of an open file from its start; `trust_anchors` is PEM of trusted authorities.

    Runs a native parser on a stranger's bytes: call it in a process that may crash. The network is not used.
    None where the extra `provenance` is not installed.
    """
    if not is_installed():
        return None
    if (known := _credentials_without_parser(file)) is not None:
        return known
    file.seek(0)
    media_type = _media_type(file.read(16))
    file.seek(0)
    return _parse(file, media_type, trust_anchors)


def _parse(file: BinaryIO, media_type: str | None, trust_anchors: str | None) -> ContentCredentials:
    """Read with the native parser. What cannot be parsed counts as invalid in a movie with such a box."""
    import c2pa

    settings: dict[str, Any] = {
        "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False, "verify_trust": True}
    }
    if trust_anchors:
        settings["trust"] = {"trust_anchors": trust_anchors}
    try:
        context = c2pa.Context.from_dict(settings)
        with context, c2pa.Reader(media_type, file, None, context) as reader:
            return credentials_from_store(json.loads(reader.json()))
    except c2pa.C2paError.ManifestNotFound:
        return ContentCredentials(CredentialState.NONE)
    except (c2pa.C2paError, ValueError, RecursionError) as error:
        if str(error).startswith("Remote"):
            return ContentCredentials(CredentialState.NONE, reason=REMOTE_MANIFEST)
        state = CredentialState.INVALID if media_type == _MOVIE else CredentialState.NONE
        return ContentCredentials(state, reason=UNREADABLE)


class CredentialsProcess:
    """A process of its own that reads the credentials of one file, from its creation until `result`."""

    def __init__(self, path: str, trust: Path | None = None) -> None:
        """Start to read; `trust` is a PEM file of trusted authorities. A file that cannot be opened has no
        credentials, and is no error here."""
        self._process: subprocess.Popen[bytes] | None = None
        self._answer = -1
        self._known: ContentCredentials | None = None
        if not is_installed() or sys.platform != "linux":  # elsewhere the process would have no limits
            return
        try:
            if Path(path).is_file():  # a pipe would be waited for
                with Path(path).open("rb") as file:
                    self._known = _credentials_without_parser(file)
                    if self._known is None:
                        file.seek(0)
                        self._start(file, trust)
        except (OSError, ValueError):  # such as a name that no file can have
            self.close()

    def result(self) -> ContentCredentials | None:
        """Wait for the credentials; None where they could not be read, such as by a parser that crashed."""
        if self._known is not None:
            return self._known
        try:
            if self._process is None or self._process.wait(READ_TIMEOUT_S) != 0:
                return None
            document = json.loads(os.pread(self._answer, _ANSWER_BYTES, 0))
            return None if document is None else ContentCredentials.from_json(document)
        except (subprocess.TimeoutExpired, OSError, ValueError):
            return None
        finally:
            self.close()

    def close(self) -> None:
        """End the process. Idempotent."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        if self._answer >= 0:
            os.close(self._answer)
            self._answer = -1

    def _start(self, file: BinaryIO, trust: Path | None) -> None:
        """Start the child on an open file: no path of it, no secrets in the environment, a bounded answer."""
        self._answer = os.memfd_create("credentials", os.MFD_CLOEXEC)
        code = f"import sys; sys.path[:] = sys.argv[1:]; from {__name__} import main; main()"
        environment = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
        if trust:
            environment[_TRUST_VARIABLE] = str(trust.absolute())
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-c", code, *sys.path],
            stdin=file,
            stdout=self._answer,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )


def main() -> None:
    """Limit this process, read the file on stdin, and write its credentials to stdout as JSON."""
    for limit, value in (
        (resource.RLIMIT_AS, _memory_in_use() + _MEMORY_BYTES),
        (resource.RLIMIT_CPU, int(READ_TIMEOUT_S)),
        (resource.RLIMIT_FSIZE, _ANSWER_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (value, value))
    trust = os.environ.get(_TRUST_VARIABLE)
    anchors = read_trust_anchors(Path(trust)) if trust else None
    if is_installed():
        import c2pa  # noqa: F401 - what it loads needs files
    compute_only_filter().install()  # beside the limits: where the kernel takes none, these hold alone
    credentials = read_credentials(sys.stdin.buffer, anchors)
    sys.stdout.write(json.dumps(credentials.as_dict() if credentials else None))


def _memory_in_use() -> int:
    """Return this process's address space in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _media_type(head: bytes) -> str | None:
    """Return the media type by the first 16 bytes of a file; None for one without a reader."""
    if head[4:8] in _FIRST_BOXES:
        return _MOVIE
    if head[:4] == b"RIFF":
        return {b"AVI ": "video/avi", b"WEBP": "image/webp"}.get(head[8:12])
    if head[:3] == b"\xff\xd8\xff":
        return "image/jpeg"
    return "image/png" if head[:8] == b"\x89PNG\r\n\x1a\n" else None


def _credentials_without_parser(file: BinaryIO) -> ContentCredentials | None:
    """Return the credentials of a file that cannot have any, as most; None where a parser has to tell."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    media_type = _media_type(file.read(16))
    if media_type is None:
        return ContentCredentials(CredentialState.NONE, reason=UNSUPPORTED_FORMAT)
    is_plain = media_type == _MOVIE and not _has_credential_box(file, size)
    return ContentCredentials(CredentialState.NONE) if is_plain else None


def _has_credential_box(file: BinaryIO, size: int) -> bool:
    """Return whether a movie has credentials, or an address of some: both stand in its outermost boxes."""
    for box in boxes(file, 0, size):
        if box.kind == b"uuid":
            content = payload(file, box)
            if content[:16] == _C2PA_BOX or (content[:16] == _XMP_BOX and b"provenance" in content):
                return True
    return False
