"""Callers: who sends a request, as far as the gateway knows."""

from __future__ import annotations

from dataclasses import dataclass, field

from limits import RateLimitItem


@dataclass(frozen=True)
class ApiKey:
    """A line of the file of keys.

    Attributes:
        name: Name of the key; owner of the jobs that it makes.
        sha256: SHA-256 of the key in hexadecimal.
        rate: Most videos in a time; None: no limit.
        max_jobs: Most jobs at once; None: no limit.
    """

    name: str
    sha256: str = field(repr=False)
    rate: RateLimitItem | None = None
    max_jobs: int | None = None


@dataclass(frozen=True)
class Caller:
    """The sender of a request.

    Attributes:
        key: The API key that it has shown; None where none is needed.
    """

    key: ApiKey | None = None

    @property
    def name(self) -> str | None:
        """Name of the key: the owner of this caller's jobs; None without keys."""
        return self.key.name if self.key else None


ANYONE = Caller()
"""The caller of a gateway without API keys."""
