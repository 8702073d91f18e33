"""Signature of a repository's record by the operator's Ed25519 key, in a file beside it."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from deepfake_triton.console.terminal import printable
from deepfake_triton.errors import InvalidKey, InvalidRepository, MissingDependency
from deepfake_triton.repository.files import write_shared_file

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

SIGNATURE_NAME = "repository_record.json.sig"
ALGORITHM = "ed25519"
_MOST_BYTES = 65536


@contextmanager
def warn_of_lost_signature(repository: Path) -> Iterator[None]:
    """Warn on stderr when the block changes the record, and so removes its signature."""
    signature = repository / SIGNATURE_NAME
    was_signed = signature.exists()
    yield
    if was_signed and not signature.exists():
        print(
            f"deepfake-triton: {printable(str(repository))}: its signature is gone: sign it again, or a "
            "server that requires one neither starts nor restarts",
            file=sys.stderr,
        )


def write_signature(repository: Path, content: bytes, private_key: Path) -> Path:
    """Sign the bytes of a record, and return the signature's file.

    Raises InvalidKey, MissingDependency, OSError.
    """
    key = _private_key(private_key)
    values = {
        "algorithm": ALGORITHM,
        "public_key": base64.b64encode(_raw(key.public_key())).decode(),
        "signature": base64.b64encode(key.sign(content)).decode(),
    }
    path = repository / SIGNATURE_NAME
    write_shared_file(path, json.dumps(values, indent=1) + "\n")
    return path


def require_signature(repository: Path, content: bytes, public_key: Path) -> None:
    """Raise InvalidRepository unless the record's bytes are signed by the private key of `public_key` (PEM).

    Raises InvalidKey when the file holds no such key, MissingDependency without the library.
    """
    key = _public_key(public_key)
    from cryptography.exceptions import InvalidSignature

    path = repository / SIGNATURE_NAME
    advice = f"deepfake-triton repository sign {repository} --key PRIVATE.pem"
    try:
        with path.open("rb") as file:
            values = json.loads(file.read(_MOST_BYTES))
        if values["algorithm"] != ALGORITHM:
            raise ValueError(f"algorithm {values['algorithm']!r:.40}")
        named = base64.b64decode(values["public_key"], validate=True)
        signature = base64.b64decode(values["signature"], validate=True)
    except FileNotFoundError:
        raise InvalidRepository(
            f"{repository}: is not signed, or changed since it was; a signature is required: {advice}"
        ) from None
    except OSError as error:
        raise InvalidRepository(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidRepository(f"{path}: is no signature: {error!r:.120}; sign again: {advice}") from error
    try:
        key.verify(signature, content)
    except InvalidSignature as error:
        if named != _raw(key):
            raise InvalidRepository(
                f"{repository}: is signed by another key than {public_key}: name the right public key, or "
                f"sign with its private key: {advice}"
            ) from error
        raise InvalidRepository(
            f"{repository}: its record changed after it was signed; look at what changed, then: {advice}"
        ) from error


def _private_key(path: Path) -> Ed25519PrivateKey:
    _require_library()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    advice = "make one with: openssl genpkey -algorithm ed25519"
    try:
        key = load_pem_private_key(_key_file(path), password=None)
    except TypeError as error:
        raise InvalidKey(
            f"{path}: is encrypted; decrypt it first: openssl pkey -in {path} -out PLAIN.pem"
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InvalidKey(f"{path}: is no private key in PEM; {advice}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise InvalidKey(f"{path}: is no Ed25519 key; {advice}")
    return key


def _public_key(path: Path) -> Ed25519PublicKey:
    _require_library()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    content = _key_file(path)
    advice = "expected what this writes: openssl pkey -in PRIVATE.pem -pubout -out PUBLIC.pem"
    if b"PRIVATE KEY" in content:
        raise InvalidKey(f"{path}: is a private key, which a server must not hold; {advice}")
    try:
        key = load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InvalidKey(f"{path}: is no public key in PEM; {advice}") from error
    if not isinstance(key, Ed25519PublicKey):
        raise InvalidKey(f"{path}: is no Ed25519 key; {advice}")
    return key


def _raw(key: Ed25519PublicKey) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)


def _key_file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MOST_BYTES)
    except OSError as error:
        raise InvalidKey(f"{path}: cannot be read: {error.strerror}") from error


def _require_library() -> None:
    try:
        import cryptography  # noqa: F401
    except ImportError as error:
        raise MissingDependency(
            "cryptography is not installed, which signatures need: pip install 'deepfake-triton[signing]'"
        ) from error
