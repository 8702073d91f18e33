from __future__ import annotations

from pathlib import Path

import pytest

from deepfake_triton.errors import InvalidOption
from deepfake_triton.gateway.settings import GatewaySettings, Webhooks

pytestmark = pytest.mark.fast


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "videos.example.org"])
def test_an_address_that_others_reach_needs_keys(host: str) -> None:
    with pytest.raises(InvalidOption, match="--api-keys"):
        GatewaySettings(host=host)
    assert GatewaySettings(host=host, api_keys=Path("keys")).host == host
    assert GatewaySettings(host=host, allow_no_keys=True).host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_loopback_needs_none(host: str) -> None:
    assert GatewaySettings(host=host).api_keys is None


def test_certificate_and_key_belong_together() -> None:
    with pytest.raises(InvalidOption, match="--tls-key"):
        GatewaySettings(tls_certificate=Path("server.pem"))
    with pytest.raises(InvalidOption, match="--tls-certificate"):
        GatewaySettings(tls_key=Path("server.key"))


def test_the_secret_of_webhooks_is_not_shown() -> None:
    assert "whsec" not in repr(GatewaySettings(webhooks=Webhooks("whsec_c2VjcmV0")))
