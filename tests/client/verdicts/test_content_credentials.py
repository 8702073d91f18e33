"""Content Credentials as JSON, and what a manifest store says."""

from __future__ import annotations

from typing import Any

import pytest

from deepfake_triton.client.verdicts.content_credentials import ContentCredentials, CredentialState
from deepfake_triton.client.verdicts.manifest_store import credentials_from_store

pytestmark = pytest.mark.fast

CREDENTIALS = ContentCredentials(
    CredentialState.TRUSTED, "camera", "2026-11-27T02:00:00Z", "editor 2", False, "reason"
)


def store(**active: Any) -> dict[str, Any]:
    """A store of one valid manifest."""
    return {
        "active_manifest": "a",
        "manifests": {"a": active},
        "validation_state": "Valid",
        "validation_results": {"activeManifest": {"success": [{"code": "claimSignature.validated"}]}},
    }


def test_json_there_and_back() -> None:
    assert ContentCredentials.from_json(CREDENTIALS.as_dict()) == CREDENTIALS
    assert CREDENTIALS.as_dict() == {
        "state": "trusted",
        "signer": "camera",
        "issued": "2026-11-27T02:00:00Z",
        "generator": "editor 2",
        "claims_ai": False,
        "reason": "reason",
    }


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        {"state": "perfect"},
        {"state": "none", "signer": 3},
        {"state": "none", "claims_ai": "yes"},
    ],
)
def test_other_json_is_refused(document: object) -> None:
    with pytest.raises(ValueError, match=r"content_credentials|CredentialState"):
        ContentCredentials.from_json(document)


def test_an_ingredient_that_an_ai_made_counts() -> None:
    document = store(assertions=[{"data": {"actions": [{"action": "c2pa.opened"}]}}])
    document["manifests"]["ingredient"] = {
        "assertions": [
            {"data": {"digitalSourceType": "https://cv.iptc.org/x/compositeWithTrainedAlgorithmicMedia"}}
        ]
    }
    assert credentials_from_store(document).claims_ai is True


def test_a_signature_that_was_not_validated_names_nobody() -> None:
    document = store(signature_info={"common_name": "someone", "time": "2026-01-01T00:00:00Z"})
    assert credentials_from_store(document).signer == "someone"
    document |= {"validation_state": "Invalid"}
    document["validation_results"] = {"activeManifest": {"failure": [{"code": "claimSignature.mismatch"}]}}
    found = credentials_from_store(document)
    assert (found.state, found.signer, found.issued) == (CredentialState.INVALID, None, None)
    assert found.reason == "claimSignature.mismatch"


def test_texts_of_a_stranger_are_cut() -> None:
    found = credentials_from_store(store(claim_generator="x" * 5000, signature_info={"issuer": "y" * 5000}))
    assert found.generator == "x" * 200
    assert found.signer == "y" * 200


def test_a_change_is_named_before_another_failure() -> None:
    document = store() | {"validation_state": "Invalid"}
    codes = ("signingCredential.untrusted", "signingCredential.expired", "assertion.dataHash.mismatch")
    document["validation_results"] = {"activeManifest": {"failure": [{"code": code} for code in codes]}}
    found = credentials_from_store(document)
    assert found.reason == "assertion.dataHash.mismatch"
    assert found.is_changed_after_signing
    document["validation_results"]["activeManifest"]["failure"].pop()
    assert credentials_from_store(document).reason == "signingCredential.expired"
    assert not credentials_from_store(document).is_changed_after_signing


def test_a_manifest_need_not_say_who_made_it() -> None:
    assert credentials_from_store(store(assertions=[{"label": "c2pa.hash.data"}])).claims_ai is None


def test_an_empty_store_says_nothing() -> None:
    assert credentials_from_store({}).state is CredentialState.INVALID


def test_texts_of_a_stranger_cannot_hide_or_reorder_others() -> None:
    hostile = "\u202eevil\x1b[2J\n\u2066\x00\u2028x \udc80"
    found = credentials_from_store(
        store(claim_generator=hostile, signature_info={"common_name": hostile, "issuer": "\u200b\n"})
    )
    assert found.generator == found.signer == "evil[2Jx"
    told = ContentCredentials.from_json({"state": "none", "signer": hostile * 100, "reason": hostile})
    assert told.reason == "evil[2Jx " and len(told.signer or "") == 403
