from __future__ import annotations

from typing import Any

import pytest

from deepfake_triton.errors import DecoderFailed, DeepfakeError, GatewayBusy
from deepfake_triton.gateway.decoding import decoded_video

pytestmark = pytest.mark.fast


@pytest.mark.parametrize(
    "error", [GatewayBusy("gateway: it can start no decoder"), DecoderFailed("a.mp4: crashed")]
)
def test_credentials_that_are_lost_fail_no_decoded_video(error: DeepfakeError) -> None:
    class LostDecoder:
        def receive(self, deadline: float) -> bytes:
            assert deadline > 0
            raise error

    lost: Any = LostDecoder()
    assert decoded_video._receive_credentials(lost) is None
