"""Messages between the gateway and a decoding process: short JSON, and descriptors beside it.

What comes from the child is a stranger's: every value is checked.
"""

from __future__ import annotations

import array
import json
import math
import os
import re
import socket
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from deepfake_triton import errors
from deepfake_triton.errors import DeadlineExceeded, DeepfakeError, InputError
from deepfake_triton.json_object import JsonObject

MAX_MESSAGE_BYTES = 1 << 16
_MAX_TEXT = 8192
_MAX_DESCRIPTORS = 4
_MAX_TRAIL = 30
_BUG = b'{"bug": '
_CODE_NAME = re.compile(r"[A-Za-z0-9_.<>/-]{1,80}(:[0-9]{1,7})?", re.ASCII)


class MalformedMessage(Exception):
    """A message that no decoding process of ours sends."""


@dataclass(frozen=True)
class WindowReady:
    """A window lies in the memory that was sent with the request.

    Attributes:
        shape: T, H, W and 3.
        pts_seconds: Display times of the frames.
        end_seconds: End of the display of the last one.
        num_expected: Number of windows of the video.
    """

    shape: tuple[int, int, int, int]
    pts_seconds: tuple[float, ...]
    end_seconds: float
    num_expected: int


@dataclass(frozen=True)
class VideoEnded:
    """The last window was decoded; the attributes are those of VideoWindows."""

    duration_seconds: float
    fault: str | None
    num_expected: int


def send_message(connection: socket.socket, message: JsonObject, descriptors: Sequence[int] = ()) -> None:
    """Send a message, and descriptors that the receiver gets copies of. Raises OSError."""
    data = json.dumps(message).encode()
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
    connection.sendmsg([data], rights)


def receive_message(connection: socket.socket) -> tuple[bytes, list[int]]:
    """Receive a message and its descriptors; no bytes at the end of the connection.

    Raises OSError, TimeoutError among them, and MalformedMessage for one that is too long.
    """
    room = socket.CMSG_SPACE(_MAX_DESCRIPTORS * array.array("i").itemsize)
    data, ancillary, flags, _ = connection.recvmsg(MAX_MESSAGE_BYTES, room, socket.MSG_CMSG_CLOEXEC)
    descriptors = array.array("i")
    for level, kind, rights in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(rights[: len(rights) - len(rights) % descriptors.itemsize])
    if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
        close_all(descriptors)
        raise MalformedMessage(f"more than {MAX_MESSAGE_BYTES} bytes")
    return data, list(descriptors)


def close_all(descriptors: Sequence[int]) -> None:
    """Close descriptors that were received."""
    for descriptor in descriptors:
        os.close(descriptor)


def object_from(data: bytes) -> JsonObject:
    """Parse one JSON object. Raises MalformedMessage."""
    try:
        message = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise MalformedMessage(f"no JSON: {type(error).__name__}") from error
    if not isinstance(message, dict):
        raise MalformedMessage("no JSON object")
    return message


def answer_from(data: bytes) -> WindowReady | VideoEnded:
    """Parse the answer to a request for a window. Raises the error that it tells, or MalformedMessage."""
    message = object_from(data)
    if "error" in message:
        raise error_from(message["error"])
    expected = _integer(message, "num_expected", most=10**7)
    if "duration_seconds" in message:
        fault = message.get("fault")
        if fault is not None and (not isinstance(fault, str) or len(fault) > _MAX_TEXT):
            raise MalformedMessage("fault: no text")
        return VideoEnded(_seconds(message, "duration_seconds"), fault, expected)
    shape, times = message.get("shape"), message.get("pts_seconds")
    if not isinstance(shape, list) or len(shape) != 4 or shape[3] != 3:
        raise MalformedMessage("shape: no [T, H, W, 3]")
    frames, height, width = (_integer({"shape": side}, "shape", most=1 << 16) for side in shape[:3])
    if not isinstance(times, list) or len(times) != frames:
        raise MalformedMessage("pts_seconds: no [T]")
    pts_seconds = tuple(_seconds({"pts_seconds": value}, "pts_seconds") for value in times)
    return WindowReady((frames, height, width, 3), pts_seconds, _seconds(message, "end_seconds"), expected)


def message_from_error(error: DeepfakeError) -> JsonObject:
    """Return the message that tells an error."""
    return {"error": {"type": type(error).__name__, "message": str(error)[:_MAX_TEXT]}}


def error_from(told: object) -> DeepfakeError:
    """Return the error that a child tells: one on its file, or on time. Raises MalformedMessage."""
    name, text = (told.get("type"), told.get("message")) if isinstance(told, dict) else (None, None)
    kind = getattr(errors, name, None) if isinstance(name, str) else None
    if not isinstance(kind, type) or not issubclass(kind, InputError | DeadlineExceeded):
        raise MalformedMessage("error: no type of an error")
    if not isinstance(text, str) or len(text) > _MAX_TEXT:
        raise MalformedMessage("error: no text")
    return kind(text)


def message_from_bug(kind: type[BaseException], trail: TracebackType | None) -> JsonObject:
    """Return the message that tells an unexpected exception: its type and the lines of code, not its text,
    in which a stranger's names may stand."""
    lines = [
        f"{'/'.join(Path(step.filename).parts[-2:])}:{step.lineno}" for step in traceback.extract_tb(trail)
    ]
    return {"bug": [kind.__name__, *lines[-_MAX_TRAIL:]]}


def bug_from(data: bytes) -> str | None:
    """Return type and trail of an unexpected exception as one line for the log; None for another message.

    Raises MalformedMessage.
    """
    if not data.startswith(_BUG):
        return None
    told = object_from(data)["bug"]
    if not isinstance(told, list) or not 1 <= len(told) <= _MAX_TRAIL + 1:
        raise MalformedMessage("bug: no type and lines")
    if not all(isinstance(part, str) and _CODE_NAME.fullmatch(part) for part in told):
        raise MalformedMessage("bug: no names of code")
    return f"{told[0]} at {' > '.join(told[1:])}"


def _integer(message: JsonObject, key: str, *, most: int) -> int:
    value = message.get(key)
    if type(value) is not int or not 1 <= value <= most:
        raise MalformedMessage(f"{key}: no number in 1…{most}")
    return value


def _seconds(message: JsonObject, key: str) -> float:
    value = message.get(key)
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise MalformedMessage(f"{key}: no finite seconds")
    return float(value)
