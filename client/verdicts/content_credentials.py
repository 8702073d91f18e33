"""Content Credentials (C2PA) of a file: who signed it, and whether it is as it was signed."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from enum import Enum

from deepfake_triton.console.hidden_characters import without_hidden
from deepfake_triton.json_object import JsonObject

UNSUPPORTED_FORMAT = "unsupported_format"
"""Reason of state `none`: the reader knows no Content Credentials in files of this format, such as WebM."""
REMOTE_MANIFEST = "remote_manifest"
"""Reason of state `none`: the file names an address for its credentials, which is not asked."""
UNREADABLE = "unreadable"
"""Reason: what stands there cannot be parsed."""
MAX_TEXT = 200
"""Longest text, in characters: it comes from a stranger's file."""
_MAX_PAIR = 2 * MAX_TEXT + len(" ()")
"""Longest pair of two texts, such as a name and an organization."""


class CredentialState(str, Enum):
    """State of a file's Content Credentials."""

    NONE = "none"
    VALID_UNKNOWN_SIGNER = "valid_unknown_signer"
    TRUSTED = "trusted"
    INVALID = "invalid"


@dataclass(frozen=True)
class ContentCredentials:
    """Content Credentials of a file. They never change a verdict: anyone can sign, or remove a signature.

    Attributes:
        state: `none`; `valid_unknown_signer`: the file is as it was signed, by someone whom no trusted
            authority vouches for; `trusted`: one does; `invalid`: changed after signing, or signed badly.
        signer: Name in the signer's certificate; None where the signature is missing or wrong.
        issued: Time of signing by a time-stamping authority, ISO 8601; None where there is no time stamp.
        generator: Program or device that made the credentials, by its own account.
        claims_ai: Whether they say that an AI made the content or a part of it; None: they do not say.
        reason: Why they are invalid (a status code of C2PA, such as `assertion.bmffHash.mismatch`), or why
            none were read: `unsupported_format`, `remote_manifest`, `unreadable`.
    """

    state: CredentialState
    signer: str | None = None
    issued: str | None = None
    generator: str | None = None
    claims_ai: bool | None = None
    reason: str | None = None

    @property
    def is_changed_after_signing(self) -> bool:
        """Whether the bytes of the file, or of the credentials, differ from those that were signed."""
        return self.state is CredentialState.INVALID and (self.reason or "").endswith(".mismatch")

    def as_dict(self) -> JsonObject:
        """Return the documented JSON."""
        return {**asdict(self), "state": self.state.value}

    @classmethod
    def from_json(cls, document: object) -> ContentCredentials:
        """Read what `as_dict` returned; hidden characters are left out. Raises ValueError."""
        names = [field.name for field in fields(cls)]
        if not isinstance(document, dict) or not document.keys() >= {"state"}:
            raise ValueError(f"content_credentials: expected an object with the keys {', '.join(names)}")
        values = {name: document.get(name) for name in names}
        state = CredentialState(values.pop("state"))
        claims_ai = values.pop("claims_ai")
        if not (claims_ai is None or isinstance(claims_ai, bool)):
            raise ValueError(
                f"content_credentials: claims_ai: got {claims_ai!r}, expected true, false or null"
            )
        texts: dict[str, str | None] = {}
        for name, value in values.items():
            if not (value is None or isinstance(value, str)):
                raise ValueError(f"content_credentials: {name}: got {value!r}, expected text or null")
            texts[name] = value and without_hidden(value)[:_MAX_PAIR]
        return cls(state, claims_ai=claims_ai, **texts)
