"""Shared-memory regions of a client at its servers: created, registered, reused, and unregistered."""

from __future__ import annotations

import contextlib

from google.protobuf.message import Message
from tritonclient.grpc import service_pb2 as pb

from deepfake_triton.client.protocol.retry import Attempt
from deepfake_triton.client.protocol.steps import Call, Flow, Pause, reply_to
from deepfake_triton.client.wire.connection_options import ConnectionOptions
from deepfake_triton.client.wire.shared_memory import (
    UNREGISTER_PAUSES_S,
    UNREGISTER_TIMEOUT_S,
    Region,
    sweep_files,
)
from deepfake_triton.client.wire.transport import NO_REFUSAL, TransportSelector
from deepfake_triton.errors import ServerError, SharedMemoryInUse
from deepfake_triton.host.addresses import split_host_port
from deepfake_triton.shared_memory.key import key_for_endpoint
from deepfake_triton.shared_memory.regions import abandon_region, is_orphan, reclaim_region


class RegionRegistry:
    """Flows that register the regions of one client, and take them back."""

    def __init__(self, transport: TransportSelector, connection: ConnectionOptions) -> None:
        self._transport, self._connection = transport, connection

    def check_out(self, attempt: Attempt, num_bytes: int) -> Flow[Region | None]:
        """Return a registered region for one request; None: send the frames in the message. Raises
        ServerError."""
        pool = self._transport.pools[attempt.url]
        if not self._transport.uses_shared_memory(attempt.url):
            return None
        region = pool.check_out(num_bytes)
        if region is not None:
            return region
        if self._transport.is_first_use(attempt.url):
            yield from self._sweep(attempt)
        pool.retire_largest()
        yield from self._unregister_retired(attempt)
        if not pool.has_room(num_bytes):
            return None
        try:
            region = Region(num_bytes)
        except OSError as error:
            self._transport.mark_refused(attempt.url, error)
            return None
        pool.add(region)
        try:
            yield from self._register(attempt, region)
        except (*NO_REFUSAL, GeneratorExit):  # the server may open it after all
            pool.retire(region)
            raise
        except ServerError as error:
            pool.discard(region)
            self._transport.mark_refused(attempt.url, error)
            return None
        return region

    def unregister_all(self) -> Flow[None]:
        """Unregister every region; one that a server still uses, or that no server answers for, is left to
        the next sweep."""
        for url, pool in self._transport.pools.items():
            names = pool.clear()
            for name in names:
                abandon_region(name)
            with contextlib.suppress(ServerError):
                for name in names:
                    if (yield from self._unregister(url, name)):
                        reclaim_region(name)

    def _register(self, attempt: Attempt, region: Region) -> Flow[None]:
        request = pb.SystemSharedMemoryRegisterRequest(
            name=region.name, key=region.key, byte_size=region.size
        )
        try:
            yield from self._reply(attempt.url, request, attempt.remaining_s())
        finally:
            region.unlink()

    def _unregister_retired(self, attempt: Attempt) -> Flow[None]:
        """Try each retired region once: one that a request still uses is tried again before the next region
        is created."""
        pool = self._transport.pools[attempt.url]
        with contextlib.suppress(ServerError):
            for name in pool.retired():
                timeout_s = min(attempt.remaining_s(), UNREGISTER_TIMEOUT_S)
                request = pb.SystemSharedMemoryUnregisterRequest(name=name)
                try:
                    yield from self._reply(attempt.url, request, timeout_s)
                except SharedMemoryInUse:
                    continue
                pool.mark_unregistered(name)

    def _sweep(self, attempt: Attempt) -> Flow[None]:
        """Unregister the regions of clients that have gone, and remove their files."""
        sweep_files()
        with contextlib.suppress(ServerError):
            request = pb.SystemSharedMemoryStatusRequest()
            known = yield from self._reply(attempt.url, request, attempt.remaining_s())
            for name in filter(is_orphan, known.regions):
                yield from self._unregister(attempt.url, name)

    def _unregister(self, url: str, name: str) -> Flow[bool]:
        """Unregister a region, with retries: Triton keeps it for a moment after the answer to its last
        request.

        Returns whether the server has let go of it. Raises ServerError.
        """
        request = pb.SystemSharedMemoryUnregisterRequest(name=name)
        for pause_s in UNREGISTER_PAUSES_S:
            if pause_s:
                yield Pause(pause_s)
            try:
                yield from self._reply(url, request, UNREGISTER_TIMEOUT_S, cleanup=True)
            except SharedMemoryInUse:
                continue
            return True
        return False

    def _reply(self, url: str, request: Message, timeout_s: float, *, cleanup: bool = False) -> Flow[Message]:
        users_key = None if self._connection.shared_memory_key else key_for_endpoint(*split_host_port(url))
        headers = self._connection.shared_memory_headers(users_key)
        return (yield from reply_to(Call(url, request, timeout_s, headers, cleanup=cleanup)))
