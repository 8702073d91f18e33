"""A signed repository: by openssl's keys, and refused when the signature is missing, another's or old."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import new_version

from deepfake_triton import cli
from deepfake_triton.errors import InvalidKey, InvalidRepository, MissingDependency
from deepfake_triton.export.repository.layout import publish
from deepfake_triton.export.repository.versions import activate, prune
from deepfake_triton.repository.approval import accept, sign
from deepfake_triton.repository.check import check_repository
from deepfake_triton.repository.record_file import RECORD_NAME
from deepfake_triton.repository.signature import SIGNATURE_NAME

pytestmark = pytest.mark.fast


def openssl(*arguments: str) -> str:
    return subprocess.run(["openssl", *arguments], check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """own.pem, own.pub.pem, other.pem, other.pub.pem; an RSA key; an encrypted one."""
    pytest.importorskip("cryptography", reason="the extra signing is not installed")
    if shutil.which("openssl") is None:
        pytest.skip("openssl is missing: make system-deps")
    folder = tmp_path_factory.mktemp("keys")
    for name in ("own", "other"):
        openssl("genpkey", "-algorithm", "ed25519", "-out", str(folder / f"{name}.pem"))
    openssl("genpkey", "-algorithm", "rsa", "-out", str(folder / "rsa.pem"))
    for name in ("own", "other", "rsa"):
        openssl(
            "pkey", "-in", str(folder / f"{name}.pem"), "-pubout", "-out", str(folder / f"{name}.pub.pem")
        )
    openssl(
        *("pkey", "-in", str(folder / "own.pem"), "-out", str(folder / "locked.pem")),
        *("-aes256", "-passout", "pass:secret"),
    )
    (folder / "text.pem").write_text("no key")
    return folder


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    for version in (1, 2):
        publish(new_version(tmp_path, version), tmp_path / "repository")
    return tmp_path / "repository"


def test_a_signed_repository_is_served_and_nothing_else(
    repository: Path, keys: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    public = keys / "own.pub.pem"
    with pytest.raises(InvalidRepository, match=r"is not signed, .* repository sign .* --key PRIVATE\.pem"):
        check_repository(repository, public_key=public)
    assert cli.main(["repository", "sign", str(repository), "--key", str(keys / "own.pem")]) == 0
    assert capsys.readouterr().out == f"wrote {repository / SIGNATURE_NAME}\n"
    assert check_repository(repository, public_key=public) == check_repository(repository)
    with pytest.raises(InvalidRepository, match="is signed by another key than"):
        check_repository(repository, public_key=keys / "other.pub.pem")
    (repository / "face_tracker/2/model.py").write_text("planted")
    with pytest.raises(InvalidRepository, match="it changed since"):
        check_repository(repository, public_key=public)


def test_openssl_finds_the_signature_valid(repository: Path, keys: Path, tmp_path: Path) -> None:
    sign(repository, keys / "own.pem")
    values = json.loads((repository / SIGNATURE_NAME).read_text())
    (tmp_path / "raw").write_bytes(base64.b64decode(values["signature"]))
    said = openssl(
        *("pkeyutl", "-verify", "-pubin", "-inkey", str(keys / "own.pub.pem"), "-rawin"),
        *("-in", str(repository / RECORD_NAME), "-sigfile", str(tmp_path / "raw")),
    )
    assert "Verified Successfully" in said


def test_whoever_changes_the_record_takes_the_signature_away(repository: Path, keys: Path) -> None:
    def publish_third() -> None:
        publish(new_version(repository.parent, 3), repository)

    def accept_an_edit() -> None:
        (repository / "face_tracker/2/model.py").write_text("edited")
        accept(repository)

    old = (repository / RECORD_NAME).read_bytes()
    for change in (
        publish_third,
        lambda: activate(repository, 2),
        lambda: prune(repository, 1),
        accept_an_edit,
    ):
        sign(repository, keys / "own.pem")
        kept = (repository / SIGNATURE_NAME).read_bytes()
        accept(repository)  # changes nothing, so the signature stays
        check_repository(repository, public_key=keys / "own.pub.pem")
        change()
        assert not (repository / SIGNATURE_NAME).exists()
        (repository / SIGNATURE_NAME).write_bytes(kept)  # somebody puts it back
        with pytest.raises(InvalidRepository, match="its record changed after it was signed"):
            check_repository(repository, public_key=keys / "own.pub.pem")
        assert (repository / RECORD_NAME).read_bytes() != old


def test_a_command_says_that_the_signature_is_gone(
    repository: Path, keys: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, says in (
        (["accept", str(repository)], False),
        (["activate", str(repository), "1"], True),
    ):
        sign(repository, keys / "own.pem")
        assert cli.main(["repository", *arguments]) == 0
        assert ("its signature is gone" in capsys.readouterr().err) is says


def test_what_cannot_be_signed(repository: Path, keys: Path) -> None:
    (repository / "face_tracker/2/model.py").write_text("planted")
    with pytest.raises(InvalidRepository, match="it changed since"):
        sign(repository, keys / "own.pem")
    (repository / RECORD_NAME).unlink()
    with pytest.raises(InvalidRepository, match="which a signature is of"):
        sign(repository, keys / "own.pem")
    with pytest.raises(InvalidRepository, match="which a signature is of"):
        check_repository(repository, public_key=keys / "own.pub.pem")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("rsa.pem", "is no Ed25519 key; make one with: openssl genpkey"),
        ("own.pub.pem", "is no private key in PEM"),
        ("text.pem", "is no private key in PEM"),
        ("locked.pem", "is encrypted; decrypt it first"),
        ("missing.pem", "cannot be read: No such file"),
    ],
)
def test_a_key_that_cannot_sign(*, repository: Path, keys: Path, name: str, says: str) -> None:
    with pytest.raises(InvalidKey, match=says):
        sign(repository, keys / name)
    assert not (repository / SIGNATURE_NAME).exists()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("rsa.pub.pem", "is no Ed25519 key; expected what this writes: openssl pkey"),
        ("own.pem", "is a private key, which a server must not hold"),
        ("text.pem", "is no public key in PEM"),
        ("missing.pem", "cannot be read: No such file"),
    ],
)
def test_a_key_that_cannot_check(*, repository: Path, keys: Path, name: str, says: str) -> None:
    sign(repository, keys / "own.pem")
    with pytest.raises(InvalidKey, match=says):
        check_repository(repository, public_key=keys / name)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"algorithm": "none"}', '{"algorithm": "ed25519", "public_key": 1}']
)
def test_a_file_that_is_no_signature(repository: Path, keys: Path, text: str) -> None:
    (repository / SIGNATURE_NAME).write_text(text)
    with pytest.raises(InvalidRepository, match="is no signature"):
        check_repository(repository, public_key=keys / "own.pub.pem")


def test_without_the_library_it_says_what_to_install(
    repository: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(MissingDependency, match=r"pip install 'deepfake-triton\[signing\]'"):
        sign(repository, keys / "own.pem")
    with pytest.raises(MissingDependency, match="signing"):
        check_repository(repository, public_key=keys / "own.pub.pem")
    check_repository(repository)
