"""A bug of ours in a child: it is told with the lines of code in the log, and with no name of a stranger."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deepfake_triton.errors import DecoderFailed
from deepfake_triton.gateway.decoding.sandbox import ChildLimits
from deepfake_triton.gateway.decoding.zygote_process import ZygoteProcess

pytestmark = pytest.mark.triton


@pytest.fixture
def zygote() -> Iterator[ZygoteProcess]:
    process = ZygoteProcess()
    process.start()
    yield process
    process.close()


def test_it_leaves_its_type_and_lines_in_the_log(
    zygote: ZygoteProcess, clip_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    job = {"kind": "windows", "name": "private.mp4", "selection": {"sampling": "private"}}
    with clip_path.open("rb") as file:
        child = zygote.spawn(job, ChildLimits(2**30, 10, 1000), (file.fileno(),))
    child.await_start()
    with pytest.raises(DecoderFailed, match=r"^private\.mp4: its decoder failed unexpectedly; convert"):
        child.receive(time.monotonic() + 10)
    child.close()
    assert re.search(
        r"a bug in a decoder: ValueError at decoding/zygote\.py:\d+ > decoding/worker\.py:\d+", caplog.text
    )
    assert "private" not in caplog.text
