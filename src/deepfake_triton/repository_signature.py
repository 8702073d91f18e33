"""The signature of a repository's record, by an Ed25519 key of the operator, in a file beside it."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepfake_triton.errors import InvalidKey, InvalidRepository, MissingDependency
from deepfake_triton.repository_files import write_atomically

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

SIGNATURE_NAME = "repository_record.json.sig"
ALGORITHM = "ed25519"
_MOST_BYTES = 65536


def write_signature(repository: Path, content: bytes, private_key: Path) -> None:
    """Sign the bytes of a record. Raises InvalidKey, MissingDependency, OSError."""
    key = _private_key(private_key)
    values = {
        "algorithm": ALGORITHM,
        "public_key": base64.b64encode(_raw(key.public_key())).decode(),
        "signature": base64.b64encode(key.sign(content)).decode(),
    }
    write_atomically(repository / SIGNATURE_NAME, json.dumps(values, indent=1) + "\n")


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
    serialization, ed25519 = _library()
    content = _key_file(path)
    try:
        key = serialization.load_pem_private_key(content, password=None)
    except TypeError as error:
        raise InvalidKey(
            f"{path}: is encrypted; decrypt it first: openssl pkey -in {path} -out PLAIN.pem"
        ) from error
    except _unusable() as error:
        raise InvalidKey(
            f"{path}: is no private key: {error}; make one with: openssl genpkey -algorithm ed25519"
        ) from error
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise InvalidKey(f"{path}: is no Ed25519 key; make one with: openssl genpkey -algorithm ed25519")
    return key


def _public_key(path: Path) -> Ed25519PublicKey:
    serialization, ed25519 = _library()
    content = _key_file(path)
    advice = f"openssl pkey -in PRIVATE.pem -pubout -out {path.name}"
    if b"PRIVATE KEY" in content:
        raise InvalidKey(f"{path}: is a private key, which a server must not hold; expected: {advice}")
    try:
        key = serialization.load_pem_public_key(content)
    except _unusable() as error:
        raise InvalidKey(f"{path}: is no public key: {error}; expected: {advice}") from error
    if not isinstance(key, ed25519.Ed25519PublicKey):
        raise InvalidKey(f"{path}: is no Ed25519 key; expected: {advice}")
    return key


def _raw(key: Ed25519PublicKey) -> bytes:
    serialization, _ = _library()
    raw: bytes = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return raw


def _key_file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MOST_BYTES)
    except OSError as error:
        raise InvalidKey(f"{path}: cannot be read: {error.strerror}") from error


def _library() -> tuple[Any, Any]:
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise MissingDependency(
            "cryptography is not installed, which signatures need: pip install 'deepfake-triton[signing]'"
        ) from error
    return serialization, ed25519


def _unusable() -> tuple[type[Exception], ...]:
    """What the library raises for a file that is no key of a kind that it knows."""
    from cryptography.exceptions import UnsupportedAlgorithm

    return ValueError, UnsupportedAlgorithm
