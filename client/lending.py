"""Shared memory that a client lends to servers on its host: made, registered, and taken back."""

from __future__ import annotations

import contextlib

from google.protobuf.message import Message
from tritonclient.grpc import service_pb2 as pb

from deepfake_triton.addresses import host_and_port
from deepfake_triton.client.attempts import Turn
from deepfake_triton.client.calls import Calls
from deepfake_triton.client.connection import Call
from deepfake_triton.client.connection_options import ConnectionOptions
from deepfake_triton.client.shared_memory import (
    UNREGISTER_PAUSES_S,
    UNREGISTER_TIMEOUT_S,
    Region,
    sweep_files,
)
from deepfake_triton.client.steps import Flow, Pause
from deepfake_triton.client.transport import NO_ANSWER, TransportChoice
from deepfake_triton.errors import ServerError, SharedMemoryInUse
from deepfake_triton.shared_memory_key import key_for_endpoint
from deepfake_triton.shared_regions import is_orphan, keep_region, leave_region


class Lending:
    """The regions of one client, whatever waits for its calls."""

    def __init__(self, calls: Calls, choice: TransportChoice, connection: ConnectionOptions) -> None:
        self._calls, self._choice, self._connection = calls, choice, connection

    def region(self, turn: Turn, size_bytes: int) -> Flow[Region | None]:
        """Memory that the server of this turn has opened; None: send the frames. Raises ServerError."""
        pool = self._choice.pools[turn.url]
        if not self._choice.shares_memory(turn.url):
            return None
        region = pool.take(size_bytes)
        if region is not None:
            return region
        if self._choice.is_first(turn.url):
            yield from self._sweep(turn)
        pool.evict()
        yield from self._unregister_retired(turn)
        if not pool.has_room(size_bytes):
            return None
        try:
            region = Region(size_bytes)
        except OSError as error:
            self._choice.refused(turn.url, error)
            return None
        pool.add(region)
        try:
            yield from self._register(turn, region)
        except (*NO_ANSWER, GeneratorExit):  # the server may open it after all
            pool.retire(region)
            raise
        except ServerError as error:
            pool.drop(region)
            self._choice.refused(turn.url, error)
            return None
        return region

    def take_back(self) -> Flow[None]:
        """Unregister all that was lent; what a server still uses, or where none answers, is left to the next
        sweep."""
        for url, pool in self._choice.pools.items():
            names = pool.forget()
            for name in names:
                leave_region(name)
            with contextlib.suppress(ServerError):
                for name in names:
                    if (yield from self._unregister(url, name)):
                        keep_region(name)

    def _register(self, turn: Turn, region: Region) -> Flow[None]:
        request = pb.SystemSharedMemoryRegisterRequest(
            name=region.name, key=region.key, byte_size=region.size
        )
        try:
            yield from self._calls.made(self._call(turn.url, request, turn.left_s()))
        finally:
            region.unlink()

    def _unregister_retired(self, turn: Turn) -> Flow[None]:
        """One try for each: what a request still uses is tried again for the next region."""
        pool = self._choice.pools[turn.url]
        with contextlib.suppress(ServerError):
            for name in pool.retired():
                timeout_s = min(turn.left_s(), UNREGISTER_TIMEOUT_S)
                request = pb.SystemSharedMemoryUnregisterRequest(name=name)
                try:
                    yield from self._calls.made(self._call(turn.url, request, timeout_s))
                except SharedMemoryInUse:
                    continue
                pool.unregistered(name)

    def _sweep(self, turn: Turn) -> Flow[None]:
        """Unregister what clients that have gone left with the server, and remove their files."""
        sweep_files()
        with contextlib.suppress(ServerError):
            request = pb.SystemSharedMemoryStatusRequest()
            known = yield from self._calls.made(self._call(turn.url, request, turn.left_s()))
            for name in filter(is_orphan, known.regions):
                yield from self._unregister(turn.url, name)

    def _unregister(self, url: str, name: str) -> Flow[bool]:
        """Whether the server has let go of it: a moment after the answer to its last request, or later.

        Raises ServerError.
        """
        request = pb.SystemSharedMemoryUnregisterRequest(name=name)
        for pause_s in UNREGISTER_PAUSES_S:
            if pause_s:
                yield Pause(pause_s)
            try:
                yield from self._calls.made(self._call(url, request, UNREGISTER_TIMEOUT_S, cleanup=True))
            except SharedMemoryInUse:
                continue
            return True
        return False

    def _call(self, url: str, request: Message, timeout_s: float, cleanup: bool = False) -> Call:
        users_key = None if self._connection.shared_memory_key else key_for_endpoint(*host_and_port(url))
        method = type(request).__name__.removesuffix("Request")
        headers = self._connection.shared_memory_headers(users_key)
        return Call(url, method, request, timeout_s, headers, cleanup)
