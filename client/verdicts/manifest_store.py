"""Content Credentials from a C2PA manifest store, in the JSON that c2pa-rs writes: pure functions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from deepfake_triton.client.verdicts.content_credentials import (
    MAX_TEXT,
    UNREADABLE,
    ContentCredentials,
    CredentialState,
)
from deepfake_triton.console.hidden_characters import without_hidden

_AI_SOURCES = (
    "trainedalgorithmicmedia",
    "compositewithtrainedalgorithmicmedia",
    "compositesynthetic",
    "trainedalgorithmicdata",
)
"""Digital source types of the IPTC and of C2PA that say AI."""


def credentials_from_store(store: dict[str, Any]) -> ContentCredentials:
    """Return the credentials by the active manifest of a manifest store."""
    manifests = store.get("manifests", {})
    active = manifests.get(store.get("active_manifest"), {})
    results = store.get("validation_results", {}).get("activeManifest", {})
    state = {
        "Trusted": CredentialState.TRUSTED,
        "Valid": CredentialState.VALID_UNKNOWN_SIGNER,
    }.get(str(store.get("validation_state")), CredentialState.INVALID)
    signature = active.get("signature_info") or {}
    is_signed_by_signer = any(
        each.get("code") == "claimSignature.validated" for each in results.get("success", ())
    )
    return ContentCredentials(
        state,
        signer=_signer_in(signature) if is_signed_by_signer else None,
        issued=_text(signature.get("time")) if is_signed_by_signer else None,
        generator=_generator_in(active),
        claims_ai=_claims_ai(manifests),
        reason=_failure_in(results) if state is CredentialState.INVALID else None,
    )


def _signer_in(signature: dict[str, Any]) -> str | None:
    """Return the name in the certificate, with the organization in parentheses."""
    name, organization = _text(signature.get("common_name")), _text(signature.get("issuer"))
    return (
        f"{name} ({organization})" if name and organization and name != organization else name or organization
    )


def _generator_in(manifest: dict[str, Any]) -> str | None:
    """Return name and version of what wrote the claim."""
    infos = manifest.get("claim_generator_info") or [{}]
    parts = (_text(infos[0].get("name")), _text(infos[0].get("version")))
    return " ".join(part for part in parts if part) or _text(manifest.get("claim_generator"))


def _claims_ai(manifests: dict[str, Any]) -> bool | None:
    """Return whether a manifest, or one of what the file was made from, says AI; None where none says."""
    kinds = [str(kind).rpartition("/")[2].lower() for kind in _source_types(list(manifests.values()))]
    return any(kind in _AI_SOURCES for kind in kinds) if kinds else None


def _source_types(value: object) -> Iterator[object]:
    """Yield every digital source type below a JSON value."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, list):
            pending += item
        elif isinstance(item, dict):
            for key, inner in item.items():
                if str(key).lower().endswith("digitalsourcetype") and isinstance(inner, str):
                    yield inner
                pending.append(inner)


def _failure_in(results: dict[str, Any]) -> str:
    """Return the first status code that makes the credentials invalid; an unknown signer alone does not."""
    codes = [_text(each.get("code")) for each in results.get("failure", ())]
    broken = [code for code in codes if code and code != "signingCredential.untrusted"]
    return next((code for code in broken if code.endswith(".mismatch")), next(iter(broken), UNREADABLE))


def _text(value: object) -> str | None:
    """Return a stranger's text, on one line and of a bounded length; None for an empty one."""
    return (
        without_hidden(value[: 2 * MAX_TEXT]).strip()[:MAX_TEXT] or None if isinstance(value, str) else None
    )
