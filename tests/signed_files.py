"""Content Credentials made for tests: an authority, its signers, and signed copies of files."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path

import c2pa
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AI_SOURCE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
CAMERA_SOURCE = "http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture"
_KEY_USES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
)
_USES = (*_KEY_USES, "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")


@dataclass(frozen=True)
class Authority:
    """A certificate authority: its certificate in a PEM file, and how it signs for `signer`."""

    pem: Path
    chain: bytes
    key: bytes

    def sign(
        self,
        source: Path,
        target: Path,
        *,
        digital_source: str = CAMERA_SOURCE,
        remote_url: str | None = None,
        media_type: str = "video/mp4",
    ) -> Path:
        """Write a signed copy of `source`; with `remote_url`, one whose credentials lie at that address."""
        created = {"action": "c2pa.created", "digitalSourceType": digital_source}
        manifest = {
            "claim_generator_info": [{"name": "test camera", "version": "1.0"}],
            "assertions": [{"label": "c2pa.actions", "data": {"actions": [created]}}],
        }
        offline = {"remote_manifest_fetch": False, "ocsp_fetch": False, "verify_after_sign": False}
        signer = c2pa.Signer.from_info(c2pa.C2paSignerInfo(b"es256", self.chain, self.key, None))
        builder = c2pa.Builder(manifest, c2pa.Context.from_dict({"verify": offline}))
        if remote_url:
            builder.set_no_embed()
            builder.set_remote_url(remote_url)
        with source.open("rb") as read, target.open("w+b") as written:
            builder.sign(signer, media_type, read, written)
        return target


def authority_in(folder: Path, signer: str = "camera 1") -> Authority:
    """Make an authority and a signer of that name, whose organization is `Test newsroom`."""
    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root = (
        _certificate("root", "root", root_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_usage("key_cert_sign", "crl_sign"), critical=True)
        .sign(root_key, hashes.SHA256())
    )
    leaf = (
        _certificate(signer, "root", key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage("digital_signature"), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), critical=False
        )
        .sign(root_key, hashes.SHA256())
    )
    pem = folder / "authority.pem"
    pem.write_bytes(root.public_bytes(serialization.Encoding.PEM))
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Authority(pem, leaf.public_bytes(serialization.Encoding.PEM) + pem.read_bytes(), secret)


def _certificate(name: str, issuer: str, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(_name(issuer))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=9))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _name(name: str) -> x509.Name:
    organization = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Test newsroom")
    return x509.Name([organization, x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _usage(*names: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{use: use in names for use in _USES})
