"""Content Credentials in sentences."""

from __future__ import annotations

from deepfake_triton.client.verdicts.content_credentials import ContentCredentials, CredentialState
from deepfake_triton.gateway.words.texts import Texts


def credentials_sentences(credentials: ContentCredentials | None, texts: Texts) -> tuple[str, ...]:
    """Say what a file's Content Credentials tell; nothing where they were not read."""
    if credentials is None:
        return ()
    said = [_state(credentials, texts)]
    if credentials.state is CredentialState.NONE:
        return tuple(said)
    if credentials.issued:
        said.append(texts("credentials.issued", issued=credentials.issued))
    if credentials.generator:
        said.append(texts("credentials.generator", generator=credentials.generator))
    if credentials.claims_ai:
        said.append(texts("credentials.claims_ai"))
    said.append(texts("credentials.apart"))
    return tuple(said)


def _state(credentials: ContentCredentials, texts: Texts) -> str:
    if credentials.state is CredentialState.NONE:
        return texts.first(f"credentials.none_{credentials.reason}", "credentials.none")
    unknown = texts("report.unknown")
    key = "changed" if credentials.is_changed_after_signing else credentials.state.value
    return texts(
        f"credentials.{key}", signer=credentials.signer or unknown, reason=credentials.reason or unknown
    )
