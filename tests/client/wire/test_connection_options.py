"""Options of a connection: the tokens that a header carries, and where they go unencrypted."""

from __future__ import annotations

import pytest

from deepfake_triton.client import ConnectionOptions, DeepfakeClient
from deepfake_triton.errors import InvalidOption, PermissionDenied

pytestmark = pytest.mark.fast


def test_tokens_are_what_a_header_carries() -> None:
    assert ConnectionOptions(token="abc\n").headers() == {"authorization": "Bearer abc"}
    for token in ("a\nb", "", " \n", "naïve", "a\x00b"):
        with pytest.raises(PermissionDenied, match="token: holds") as raised:
            ConnectionOptions(token=token)
        assert not token.strip() or token.strip() not in str(raised.value), "it is a secret"
    with pytest.raises(InvalidOption):
        ConnectionOptions(keepalive_s=0)


def test_a_token_over_plain_text_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    options = ConnectionOptions(token="abc")
    DeepfakeClient(["far.example:8001", "127.0.0.1:8001"], connection=options).close()
    assert "far.example:8001: the token goes there unencrypted" in caplog.text
    assert "127.0.0.1" not in caplog.text and "abc" not in caplog.text
    assert not ConnectionOptions(token="abc", tls=True).urls_exposing_token(["far.example:8001"])
