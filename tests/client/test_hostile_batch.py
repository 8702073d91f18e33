"""A batch of good and hostile files: each has its line, in order, and none of them is changed."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import backdrop, write_clip

from deepfake_triton.serving.server import TritonServer

pytestmark = pytest.mark.triton

COMMAND = str(Path(sys.executable).with_name("deepfake-triton"))
TOTAL = 200
NAMES = (
    *("-leading.mp4", "--json.mp4", "{name}.mp4", "{}%s%d.mp4", "new\nline.mp4", "tab\t.mp4", " space .mp4"),
    *(
        "*.mp4",
        "[x].mp4",
        "quote'\".mp4",
        "back\\slash.mp4",
        "a:b.mp4",
        "#hash?.mp4",
        "~tilde.mp4",
        "$HOME.mp4",
    ),
    *("\udcff\udcfe.mp4", "\u202egpj.mp4", "\U0001f600.mp4", "e\u0301.mp4", "\x1b[2J.mp4", ".hidden.mp4"),
    *("UPPER.MP4", "no-suffix", "x.csv.mp4", "y" * 240 + ".mp4"),
)


def contents(good: bytes, seed: int) -> bytes:
    """Bytes that are no video, or were one."""
    generator = np.random.default_rng(seed)
    noise = generator.integers(0, 256, 4096, dtype=np.uint8).tobytes()
    flipped = bytearray(good)
    for place in generator.integers(0, len(good), 40):
        flipped[place] ^= 0xFF
    kinds = (
        noise,
        good[:64] + noise,
        good[: len(good) * (1 + seed % 7) // 8],
        bytes(flipped),
        good.replace(b"avc1", b"braw"),
        good[: len(good) // 2] + noise + good[len(good) // 2 :],
        b"",
        b"not a video\n" * 50,
        struct.pack(">I4sQ", 1, b"moov", 2**62) + noise,
        b"YUV4MPEG2 W99999 H99999 F25:1 Ip\nFRAME\n" + noise,
        b"BM" + struct.pack("<IIIIii", 2**31, 0, 54, 40, 60_000, 60_000) + noise,
        b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n",
        b"RIFF" + struct.pack("<I", 2**32 - 1) + b"AVI LIST" + noise,
        b"\x1aE\xdf\xa3" + noise,
    )
    return kinds[seed % len(kinds)]


@pytest.fixture
def batch(tmp_path: Path) -> list[str]:
    """Names of files that stand in `tmp_path / "files"`, a good one at every twentieth place."""
    folder = tmp_path / "files"
    folder.mkdir()
    clip = write_clip(tmp_path / "good.mp4", [backdrop(96, 128)] * 4)
    good = clip.read_bytes()
    for name in NAMES:
        (folder / name).write_bytes(good)
    (folder / "folder.mp4").mkdir()
    os.mkfifo(folder / "pipe.mp4")
    (folder / "gone.mp4").symlink_to("missing.mp4")
    (folder / "circle.mp4").symlink_to("circle.mp4")
    (folder / "device.mp4").symlink_to("/dev/zero")
    (folder / "memory.mp4").symlink_to("/proc/self/mem")
    (folder / "unreadable.mp4").write_text("no video")
    (folder / "unreadable.mp4").chmod(0)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(folder / "socket.mp4"))
    silent = ("folder", "pipe", "gone", "circle", "device", "memory", "unreadable", "socket", "absent")
    named = [*(f"{name}.mp4" for name in silent), "z" * 300 + ".mp4", "nul\0.mp4", *NAMES]
    for index in range(TOTAL - len(named)):
        name = f"{index:03}.mp4"
        (folder / name).write_bytes(good if index % 20 == 0 else contents(good, index))
        named.append(name)
    return named


def digests(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.is_file() and not path.is_symlink()
    }


def detect(server: TritonServer, listed: Path, *options: str) -> tuple[list[dict[str, Any]], str]:
    done = subprocess.run(
        [COMMAND, "detect", str(listed), "--json", "--url", server.url, "--frames", "2", *options],
        capture_output=True, text=True, timeout=400, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr


@pytest.mark.parametrize("jobs", ["1", "4"])
def test_every_path_has_its_line_and_no_file_is_changed(
    *, published_server: TritonServer, tmp_path: Path, batch: list[str], jobs: str
) -> None:
    assert len(batch) == TOTAL
    listed, folder, kept = tmp_path / "list.jsonl", tmp_path / "files", tmp_path / "kept.jsonl"
    listed.write_text("".join(json.dumps({"path": f"files/{name}"}) + "\n" for name in batch))
    before = digests(folder)
    drawn = tmp_path / "drawn"
    overlay = ("--overlay", str(drawn / "{number}-{name}.mp4")) if jobs == "4" else ()
    answers, said = detect(published_server, listed, "--jobs", jobs, "--output", str(kept), *overlay)
    assert [answer["video"] for answer in answers] == [str(folder / name) for name in batch]
    assert "Traceback" not in said
    for answer in answers:
        assert (answer["error"] is None) == (answer["verdict"] is not None)
    by_name = {Path(answer["video"]).name: answer for answer in answers}
    for name in (*NAMES, *(f"{index:03}.mp4" for index in range(0, TOTAL - len(NAMES) - 11, 20))):
        assert by_name[name]["verdict"] == "INCONCLUSIVE" and by_name[name]["frames_decoded"] == 2, name
    for number, answer in enumerate(answers if overlay else [], 1):
        assert len(list(drawn.glob(f"{number}-*.mp4"))) == (answer["error"] is None), answer["video"]
    typed = {"VideoNotFound", "VideoUnreadable", "NotAVideo", "VideoTooLarge", "VideoUndecodable"}
    typed |= {"NoVideoStream"}
    assert {answer["error"]["type"] for answer in answers if answer["error"]} <= typed
    assert digests(folder) == before
    assert len(kept.read_text().splitlines()) == TOTAL
    again, _ = detect(published_server, listed, "--jobs", jobs, "--output", str(kept))
    assert [line["verdict"] for line in again] == [line["verdict"] for line in answers]
    assert len({json.loads(line)["video"] for line in kept.read_text().splitlines()}) == TOTAL
