"""Content Credentials in words: each state says something else, and never that they judge."""

from __future__ import annotations

import pytest

from deepfake_triton.client.verdicts.content_credentials import ContentCredentials, CredentialState
from deepfake_triton.gateway.words.credentials import credentials_sentences
from deepfake_triton.gateway.words.texts import texts_for

pytestmark = pytest.mark.fast
T = texts_for("en")


def said(state: CredentialState, **more: object) -> str:
    return " ".join(credentials_sentences(ContentCredentials(state, **more), T))  # type: ignore[arg-type]


def test_every_state_has_its_own_words() -> None:
    assert credentials_sentences(None, T) == ()
    assert said(CredentialState.NONE) == T("credentials.none")
    assert said(CredentialState.NONE, reason="remote_manifest") == T("credentials.none_remote_manifest")
    trusted = said(CredentialState.TRUSTED, signer="ACME", generator="Camera", issued="2026", claims_ai=True)
    for part in ("ACME", "trusted authority vouches", "Camera", "2026", "an AI made it", "never change"):
        assert part in trusted
    assert "no trusted authority" in said(CredentialState.VALID_UNKNOWN_SIGNER, signer="Eve")
    assert "changed after" in said(CredentialState.INVALID, reason="assertion.bmffHash.mismatch")
    assert "signed badly: unknown" in said(CredentialState.INVALID)
