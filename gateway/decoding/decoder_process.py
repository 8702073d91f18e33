"""A decoding process as the gateway sees it: requests, answers, its end and the reason of it."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence

from deepfake_triton.errors import DecoderFailed, GatewayBusy
from deepfake_triton.gateway.decoding.messages import (
    MalformedMessage,
    bug_from,
    close_all,
    object_from,
    receive_message,
    send_message,
)
from deepfake_triton.gateway.decoding.sandbox import ChildLimits
from deepfake_triton.json_object import JsonObject

_START_TIMEOUT_S, _END_TIMEOUT_S = 30.0, 5.0
_HINT = "convert it to H.264 and try again"
_UNEXPECTED = "its decoder failed unexpectedly"
_LOG = logging.getLogger(__name__)


def out_of_decoders(reason: object) -> GatewayBusy:
    """Return the error for what the gateway lacks, such as descriptors or processes; the reason is logged."""
    _LOG.warning("no decoder could be started: %s", reason)
    return GatewayBusy("gateway: it can start no decoder at the moment; try again later")


class DecoderProcess:
    """One child. `kill` may be called by any thread at any time; all else by one thread at a time."""

    def __init__(
        self,
        name: str,
        limits: ChildLimits,
        *,
        channel: socket.socket,
        status: socket.socket,
        on_silence: Callable[[], None],
    ) -> None:
        """`name` is the file's; the child speaks through `channel`, the zygote about it through `status`;
        `on_silence` is called when the zygote does not."""
        self.name, self.limits = name, limits
        self._channel, self._status = channel, status
        self._on_silence = on_silence
        self._pidfd = -1
        self._is_killed = False
        self._lock, self._receiving = threading.Lock(), threading.Lock()

    def await_start(self) -> None:
        """Wait until the process has started. Raises GatewayBusy, and DecoderFailed after `kill`."""
        self._status.settimeout(_START_TIMEOUT_S)
        try:
            data, descriptors = receive_message(self._status)
        except (OSError, MalformedMessage) as error:
            if isinstance(error, TimeoutError):
                self._on_silence()
            raise self._not_started(error) from error
        if len(descriptors) != 1:
            close_all(descriptors)
            raise self._not_started(data.decode(errors="replace") or "its zygote ended the connection")
        with self._lock:
            self._pidfd = descriptors[0]
            if self._is_killed:
                self._signal()

    def send(self, message: JsonObject, descriptors: Sequence[int] = ()) -> None:
        """Send a request. To a process that has ended it gets lost, and `receive` tells why."""
        with contextlib.suppress(OSError):
            send_message(self._channel, message, descriptors)

    def receive(self, deadline: float) -> bytes:
        """Return the next answer; `deadline` is by time.monotonic(). Raises DecoderFailed when the process
        has ended, or takes longer."""
        try:
            with self._receiving:
                self._channel.settimeout(max(0.001, deadline - time.monotonic()))
                data, descriptors = receive_message(self._channel)
        except TimeoutError as error:
            self.kill()
            raise self._failed(f"decoding it takes too long; send a part of it, or {_HINT}") from error
        except OSError as error:
            raise self._end_error() from error
        except MalformedMessage as error:
            raise self.nonsense() from error
        close_all(descriptors)
        if not data:
            raise self._end_error()
        self._require_no_bug(data)
        return data

    def kill(self) -> None:
        """Kill the process, and wake who waits for its answers. Does not wait. May be repeated."""
        with self._lock:
            self._is_killed = True
            self._signal()
            for connection in (self._channel, self._status):
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Kill the process, and close all descriptors. May be repeated."""
        self.kill()
        with self._receiving, self._lock:
            self._channel.close()
            self._status.close()
            if self._pidfd >= 0:
                os.close(self._pidfd)
                self._pidfd = -1

    def nonsense(self) -> DecoderFailed:
        """Return the error for an answer that makes no sense; the process is killed."""
        self.kill()
        return self._failed(f"its decoder answered nonsense, as if taken over by the file; {_HINT}")

    def _require_no_bug(self, data: bytes) -> None:
        try:
            bug = bug_from(data)
        except MalformedMessage as error:
            raise self.nonsense() from error
        if bug is not None:
            _LOG.error("a bug in a decoder: %s", bug)
            raise self._failed(f"{_UNEXPECTED}; {_HINT}")

    def _not_started(self, reason: object) -> DecoderFailed | GatewayBusy:
        return self._failed("decoding it was stopped") if self._is_killed else out_of_decoders(reason)

    def _signal(self) -> None:
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def _end_error(self) -> DecoderFailed | GatewayBusy:
        """Return the error for a process that ended without an answer: the gateway's if its zygote ended."""
        if self._is_killed:
            return self._failed("decoding it was stopped")
        self._status.settimeout(_END_TIMEOUT_S)
        try:
            data, _ = receive_message(self._status)
            if not data:
                return out_of_decoders("the process that they are made from has ended")
            code = object_from(data).get("exit")
        except (OSError, MalformedMessage):
            if self._has_ended():
                self._on_silence()
                return out_of_decoders("the process that they are made from does not answer")
            code = None
        return self._failed(f"{self._reason(code)}; {_HINT}")

    def _has_ended(self) -> bool:
        if self._pidfd < 0:
            return False
        ends = select.poll()
        ends.register(self._pidfd, select.POLLIN)
        return bool(ends.poll(0))

    def _reason(self, code: object) -> str:
        if not isinstance(code, int):
            return "its decoder has gone"
        if code >= 0:
            return _UNEXPECTED
        if code == -signal.SIGXCPU:
            return f"decoding it takes more than the {self.limits.cpu_s} s of CPU time that it may use"
        if code == -signal.SIGKILL:
            return "its decoder was killed by the system, as for want of memory"
        return f"it crashed its decoder ({signal.Signals(-code).name})"

    def _failed(self, reason: str) -> DecoderFailed:
        return DecoderFailed(f"{self.name}: {reason}")
