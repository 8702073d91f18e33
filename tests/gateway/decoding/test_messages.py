"""Messages between the gateway and its decoders: descriptors, limits, and what errors may be told."""

from __future__ import annotations

import os
import socket

import pytest

from deepfake_triton import errors
from deepfake_triton.errors import DeadlineExceeded, NotAVideo
from deepfake_triton.gateway.decoding.messages import (
    MAX_MESSAGE_BYTES,
    MalformedMessage,
    VideoEnded,
    WindowReady,
    answer_from,
    error_from,
    message_from_error,
    receive_message,
    send_message,
)

pytestmark = pytest.mark.fast


def test_a_message_carries_descriptors() -> None:
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    reader, writer = os.pipe()
    with left, right:
        send_message(left, {"a": 1.5}, [writer])
        data, (copy,) = receive_message(right)
        os.write(copy, b"through")
        assert data == b'{"a": 1.5}' and os.read(reader, 10) == b"through"
        assert not os.get_inheritable(copy)
        left.send(b"x" * (MAX_MESSAGE_BYTES + 1))
        with pytest.raises(MalformedMessage, match="more than"):
            receive_message(right)
        left.close()
        assert receive_message(right) == (b"", [])
    for descriptor in (reader, writer, copy):
        os.close(descriptor)


def test_answers_keep_every_digit() -> None:
    times = (0.1 + 0.2, 1 / 3, 86_400.000000001)
    told = (
        f'{{"shape": [3, 2, 2, 3], "pts_seconds": {list(times)}, "end_seconds": 86401.5, "num_expected": 9}}'
    )
    assert answer_from(told.encode()) == WindowReady((3, 2, 2, 3), times, 86401.5, 9)
    end = b'{"duration_seconds": 4.000000333333334, "fault": null, "num_expected": 9}'
    assert answer_from(end) == VideoEnded(4.000000333333334, None, 9)


@pytest.mark.parametrize("error", [NotAVideo("a.mp4: no"), DeadlineExceeded("a.mp4: 3 s")])
def test_errors_of_files_cross_over(error: errors.DeepfakeError) -> None:
    told = error_from(message_from_error(error)["error"])
    assert type(told) is type(error) and str(told) == str(error)


@pytest.mark.parametrize(
    "name", ["ServerUnreachable", "GatewayBusy", "DeepfakeError", "annotations", "x", None]
)
def test_no_other_errors_do(name: object) -> None:
    with pytest.raises(MalformedMessage):
        error_from({"type": name, "message": "x"})
