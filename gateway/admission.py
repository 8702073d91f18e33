"""Whether a request may send its body: one rule for REST, gRPC and the page's form."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from deepfake_triton.errors import GatewayBusy
from deepfake_triton.gateway.access.callers import Caller
from deepfake_triton.gateway.services import Services
from deepfake_triton.gateway.settings import Limits
from deepfake_triton.host.addresses import is_loopback


@contextmanager
def admission(
    services: Services,
    caller: Caller,
    declared_bytes: int | None,
    *,
    address: str | None = None,
    idempotency_key: str | None = None,
) -> Iterator[None]:
    """Admit a request, before any of its body is read, and count its upload until the job is submitted.

    Uploads are counted by the caller's key; without keys, by the `address` from which they come, where those
    from loopback have no share of their own.

    Raises:
        RateLimited: The key's rate or jobs at once, those being uploaded included.
        UploadTooLarge: The declared size is over the limit.
        SpoolFull: No room on the disk.
        GatewayBusy: The queue is full, or the sender's share of it is.
    """
    access, uploading = services.access, services.uploading
    sender = caller.name or address
    access.require_job_slot(caller, services.jobs.num_active(caller.name) + uploading[sender])
    services.spool.require_room(declared_bytes)
    services.jobs.require_room(caller.name, idempotency_key, num_uploading=uploading.total())
    if caller.name or (
        address and not is_loopback(address)
    ):  # of this host, or of a proxy on it: many callers
        _require_share(uploading[sender], services.settings.limits)
    access.require_rate(caller)  # last: a request refused for anything else does not count
    uploading[sender] += 1
    try:
        yield
    finally:
        uploading[sender] -= 1
        if not uploading[sender]:
            del uploading[sender]


def _require_share(num_uploads: int, limits: Limits) -> None:
    """Raise GatewayBusy for a sender whose uploads take half of all places: slow ones keep nobody out."""
    most = max(1, (limits.max_running + limits.max_queued) // 2)
    if num_uploads >= most:
        raise GatewayBusy(
            f"gateway: {num_uploads} of your uploads are under way, {most} at most; try again when one of "
            "them is complete"
        )
