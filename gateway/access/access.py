"""Who may ask, and how often."""

from __future__ import annotations

import math
import time

from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from starlette.requests import Request

from deepfake_triton.errors import RateLimited, Unauthenticated
from deepfake_triton.gateway.access.callers import ANYONE, Caller
from deepfake_triton.gateway.access.key_file import KeyFile
from deepfake_triton.gateway.access.sessions import Sessions, mark_of
from deepfake_triton.gateway.settings import GatewaySettings

_JOB_RETRY_S = 5


class Access:
    """API keys, their limits, and the sessions opened with them.

    Raises:
        InvalidOption: The file of keys is missing or malformed.
    """

    def __init__(self, settings: GatewaySettings) -> None:
        self._keys = KeyFile(settings.api_keys) if settings.api_keys else None
        self._rates = MovingWindowRateLimiter(MemoryStorage())
        self.sessions = Sessions(secure=settings.tls_certificate is not None)

    @property
    def has_keys(self) -> bool:
        """Whether callers need a key."""
        return self._keys is not None

    def caller_by_key(self, key: str | None) -> Caller:
        """Return the caller that shows a key. Raises Unauthenticated."""
        if self._keys is None:
            return ANYONE
        if not key:
            raise Unauthenticated("no API key: send it as `Authorization: Bearer KEY`")
        if (found := self._keys.find(key)) is None:
            raise Unauthenticated("API key: unknown; send one that is in the gateway's file of keys")
        return Caller(found)

    def caller_by_session(self, request: Request) -> Caller:
        """Return the caller whose session's cookie a request carries. Raises Unauthenticated."""
        if self._keys is None:
            return ANYONE
        session = self.sessions.read(request)
        if session and (key := self._keys.named(session.key_name)) and mark_of(key) == session.key_mark:
            return Caller(key)
        raise Unauthenticated(
            "no API key: send it as `Authorization: Bearer KEY`, or open a session on the page"
        )

    def require_rate(self, caller: Caller) -> None:
        """Count a video. Raises RateLimited, with `retry_after_s`, beyond the key's rate."""
        if caller.key is None or (rate := caller.key.rate) is None:
            return
        if not self._rates.hit(rate, caller.key.name):
            wait_s = self._rates.get_window_stats(rate, caller.key.name).reset_time - time.time()
            raise _limited(f"videos: the key {caller.key.name} may send {rate}", max(1, math.ceil(wait_s)))

    def require_job_slot(self, caller: Caller, active: int) -> None:
        """Raise RateLimited if a caller with `active` jobs may not have one more."""
        if caller.key and caller.key.max_jobs is not None and active >= caller.key.max_jobs:
            raise _limited(
                f"jobs at once: the key {caller.key.name} has {active} and may have {caller.key.max_jobs}",
                _JOB_RETRY_S,
            )


def _limited(reason: str, retry_after_s: int) -> RateLimited:
    error = RateLimited(f"{reason}; try again in {retry_after_s} s")
    error.retry_after_s = retry_after_s
    return error
