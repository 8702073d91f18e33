"""Content Credentials of real signed files: four states, no network, and a process that may crash."""

from __future__ import annotations

import http.server
import os
import platform
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from signed_files import AI_SOURCE, CAMERA_SOURCE, Authority, authority_in

from deepfake_triton.client import provenance
from deepfake_triton.client.provenance import CredentialsProcess, read_credentials, read_trust_anchors
from deepfake_triton.client.verdicts.content_credentials import ContentCredentials, CredentialState
from deepfake_triton.errors import InvalidOption

pytestmark = pytest.mark.fast


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authority_in(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def signed(clip_path: Path, authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's clip, signed, and said to be made by an AI."""
    return authority.sign(
        clip_path, tmp_path_factory.mktemp("signed") / "signed.mp4", digital_source=AI_SOURCE
    )


def read(path: Path, trust: Path | None = None) -> ContentCredentials:
    with path.open("rb") as file:
        found = read_credentials(file, read_trust_anchors(trust) if trust else None)
    assert found is not None
    return found


def with_flipped_byte(source: Path, target: Path) -> Path:
    """A copy in which one bit of the pictures differs."""
    data = bytearray(source.read_bytes())
    data[data.rindex(b"mdat") + 1000] ^= 1
    target.write_bytes(data)
    return target


def test_most_files_have_none(clip_path: Path) -> None:
    assert read(clip_path) == ContentCredentials(CredentialState.NONE)


def test_anyone_can_sign(signed: Path) -> None:
    assert read(signed) == ContentCredentials(
        CredentialState.VALID_UNKNOWN_SIGNER,
        signer="camera 1 (Test newsroom)",
        generator="test camera 1.0",
        claims_ai=True,
    )


def test_a_trusted_authority_vouches_for_the_signer(signed: Path, authority: Authority) -> None:
    found = read(signed, authority.pem)
    assert (found.state, found.signer) == (CredentialState.TRUSTED, "camera 1 (Test newsroom)")


def test_another_authority_does_not(signed: Path, tmp_path: Path) -> None:
    assert read(signed, authority_in(tmp_path).pem).state is CredentialState.VALID_UNKNOWN_SIGNER


def test_one_changed_bit_is_noticed(signed: Path, authority: Authority, tmp_path: Path) -> None:
    changed = read(with_flipped_byte(signed, tmp_path / "changed.mp4"), authority.pem)
    assert changed.state is CredentialState.INVALID
    assert changed.reason == "assertion.bmffHash.mismatch"
    assert changed.is_changed_after_signing


def test_a_cut_file_is_not_as_signed(signed: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(signed.read_bytes()[:20_000])
    assert read(cut).state is CredentialState.INVALID


def test_a_camera_says_that_no_ai_made_it(clip_path: Path, authority: Authority, tmp_path: Path) -> None:
    file = authority.sign(clip_path, tmp_path / "signed.mp4", digital_source=CAMERA_SOURCE)
    assert read(file).claims_ai is False


@pytest.mark.parametrize("head", [b"\x1a\x45\xdf\xa3" + bytes(60), b"G" + bytes(187), b"", b"%PDF-1.7\n"])
def test_formats_without_credentials(tmp_path: Path, head: bytes) -> None:
    file = tmp_path / "clip.webm"
    file.write_bytes(head)
    assert read(file) == ContentCredentials(CredentialState.NONE, reason="unsupported_format")


def test_a_photo_is_read_too(authority: Authority, tmp_path: Path) -> None:
    import cv2
    import numpy as np

    plain = tmp_path / "photo.jpg"
    cv2.imwrite(str(plain), np.full((64, 64, 3), 90, np.uint8))
    assert read(plain) == ContentCredentials(CredentialState.NONE)
    photo = authority.sign(plain, tmp_path / "signed.jpg", media_type="image/jpeg")
    assert read(photo, authority.pem).state is CredentialState.TRUSTED


def test_a_box_of_rubbish_is_invalid(clip_path: Path, tmp_path: Path) -> None:
    box = bytes.fromhex("d8fec3d61b0e483c92975828877ec481") + bytes(4) + b"manifest\0" + bytes(8) + b"rubbish"
    file = tmp_path / "rubbish.mp4"
    file.write_bytes(clip_path.read_bytes() + (8 + len(box)).to_bytes(4, "big") + b"uuid" + box)
    assert read(file) == ContentCredentials(CredentialState.INVALID, reason="unreadable")


def test_no_address_in_a_file_is_asked(clip_path: Path, authority: Authority, tmp_path: Path) -> None:
    with counting_server() as (url, hits):
        file = authority.sign(clip_path, tmp_path / "remote.mp4", remote_url=f"{url}/manifest.c2pa")
        assert url.encode() in file.read_bytes()
        assert read(file) == ContentCredentials(CredentialState.NONE, reason="remote_manifest")
        assert CredentialsProcess(str(file)).result() == read(file)
        assert hits == []


def test_without_the_extra_nothing_is_said(signed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "c2pa", None)
    with signed.open("rb") as file:
        assert read_credentials(file) is None
    assert CredentialsProcess(str(signed)).result() is None


def test_a_process_of_its_own_finds_the_same(signed: Path, authority: Authority) -> None:
    assert CredentialsProcess(str(signed), authority.pem).result() == read(signed, authority.pem)


def test_a_descriptor_will_do_for_a_path(signed: Path) -> None:
    with signed.open("rb") as file:
        name = f"/proc/self/fd/{file.fileno()}"
        assert CredentialsProcess(name).result() == read(signed)


@pytest.mark.parametrize("name", ["", "missing.mp4", "a" * 300, "nul\0.mp4", "."])
def test_what_cannot_be_opened_has_none(name: str) -> None:
    assert CredentialsProcess(name).result() is None


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    assert CredentialsProcess(str(tmp_path / "pipe.mp4")).result() is None


def test_a_crash_of_the_parser_costs_the_credentials_only(
    signed: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "c2pa.py").write_text("import os; os.abort()")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert CredentialsProcess(str(signed)).result() is None


def test_a_parser_that_is_taken_over_reaches_nobody(
    signed: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with counting_server() as (url, hits):
        code = f"""
import socket, urllib.request
class C2paError(Exception): ManifestNotFound = KeyError
class Context:
    def from_dict(settings): urllib.request.urlopen({url!r})
Reader = None
"""
        (tmp_path / "c2pa.py").write_text(code)
        monkeypatch.syspath_prepend(str(tmp_path))
        assert CredentialsProcess(str(signed)).result() is None
        assert hits == []


@pytest.mark.skipif(platform.machine() != "x86_64", reason="system calls are filtered on x86-64 only")
@pytest.mark.parametrize("action", ["open('FILE')", "open('FILE', 'w')", "os.unlink('FILE')", "os.fork()"])
def test_a_parser_that_is_taken_over_opens_nothing(
    signed: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, action: str
) -> None:
    (tmp_path / "file").write_text("kept")
    code = f"""
import os
class C2paError(Exception): ManifestNotFound = KeyError
class Context:
    def from_dict(settings):
        try:
            {action.replace("FILE", str(tmp_path / "file"))}
        except PermissionError:
            raise KeyError
        raise ValueError
Reader = None
"""
    (tmp_path / "c2pa.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert CredentialsProcess(str(signed)).result() == ContentCredentials(CredentialState.NONE)
    assert (tmp_path / "file").read_text() == "kept"


def test_a_parser_without_end_is_killed(
    signed: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "c2pa.py").write_text("import time; time.sleep(100)")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(provenance, "READ_TIMEOUT_S", 0.6)
    process = CredentialsProcess(str(signed))
    child = process._process
    assert child is not None
    assert process.result() is None
    assert child.returncode == -9


def test_a_parser_that_takes_all_memory_is_stopped(
    signed: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "c2pa.py").write_text("taken = bytearray(3 * 2**30)")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert CredentialsProcess(str(signed)).result() is None


def test_the_working_folder_is_not_imported_from(
    signed: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "json.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')")
    monkeypatch.chdir(tmp_path)
    assert CredentialsProcess(str(signed)).result() == read(signed)
    assert not (tmp_path / "executed").exists()


def test_a_file_without_a_certificate_is_no_trust_list(tmp_path: Path) -> None:
    (tmp_path / "anchors.pem").write_text("no certificate")
    with pytest.raises(InvalidOption, match="holds no certificate"):
        read_trust_anchors(tmp_path / "anchors.pem")
    with pytest.raises(InvalidOption, match="cannot be read"):
        read_trust_anchors(tmp_path / "missing.pem")


@contextmanager
def counting_server() -> Iterator[tuple[str, list[str]]]:
    """A web server on loopback that notes what it is asked for."""
    hits: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            hits.append(self.path)
            self.send_error(404)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", hits
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
