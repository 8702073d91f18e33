"""Files that break, exhaust or take over their decoder: each costs its own request, and nothing else."""

from __future__ import annotations

import gc
import http.server
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from decoder_uploads import descendants, started_pool, upload_from
from support import settled

from deepfake_triton.errors import DecoderFailed, DeepfakeError, InputError
from deepfake_triton.gateway.decoding.pool import DecoderPool
from deepfake_triton.gateway.settings import Limits
from deepfake_triton.preprocessing.video.sampling import FrameSelection, Sampling

pytestmark = pytest.mark.triton

BROKEN_FILES = 150


def error_of(pool: DecoderPool, path: Path, selection: FrameSelection | None = None) -> DeepfakeError | None:
    upload = upload_from(path)
    with upload.file:
        try:
            list(pool.open_video(upload, selection or FrameSelection(), 60))
        except DeepfakeError as error:
            return error
    return None


def is_zygote(pid: int) -> bool:
    """Whether a process is one of the decoders', and not a server that other tests share."""
    return b"decoding.zygote" in Path(f"/proc/{pid}/cmdline").read_bytes()


def kill_children(zygotes: set[int], number: signal.Signals) -> None:
    for process in descendants():
        if process.parent in zygotes:
            os.kill(process.pid, number)


@pytest.mark.parametrize(
    ("number", "reason"),
    [(signal.SIGKILL, "killed by the system"), (signal.SIGSEGV, r"crashed its decoder \(SIGSEGV\)")],
)
def test_a_child_that_dies_costs_its_own_request(
    pool: DecoderPool, clip_path: Path, number: signal.Signals, reason: str
) -> None:
    other = iter(pool.open_video(upload_from(clip_path), FrameSelection(windows=6), 60))
    zygotes = {process.pid for process in descendants() if is_zygote(process.pid)}
    assert zygotes
    video = iter(pool.open_video(upload_from(clip_path), FrameSelection(windows=6), 60))
    next(video)
    kill_children(zygotes, number)
    next(other)
    with pytest.raises(DecoderFailed, match=rf"^{clip_path.name}: .*{reason}"):
        list(video)
    assert len(list(other)) == 5
    assert error_of(pool, clip_path) is None


def test_a_dead_zygote_is_started_anew(clip_path: Path) -> None:
    before = {process.pid for process in descendants()}
    with started_pool() as pool:
        (zygote,) = {process.pid for process in descendants()} - before
        os.kill(zygote, signal.SIGKILL)
        errors = [error_of(pool, clip_path) for _ in range(2)]
        assert errors[-1] is None
        started = {process.pid for process in descendants() if process.parent == os.getpid()} - before
        assert len(started) == 1 and zygote not in started


def test_memory_is_limited(heavy_video: Path, clip_path: Path) -> None:
    with started_pool(Limits(decoder_memory_bytes=240 * 2**20)) as pool:
        error = error_of(pool, heavy_video)
        assert isinstance(error, DecoderFailed), error
        assert str(error).startswith("heavy.mjpeg: ") and "240 MiB of memory" in str(error)
        assert error_of(pool, clip_path, FrameSelection(num_frames=4)) is None


def test_cpu_time_is_limited(heavy_video: Path, clip_path: Path) -> None:
    with started_pool(Limits(decoder_cpu_s=1)) as pool:
        error = error_of(pool, heavy_video, FrameSelection(40, Sampling.UNIFORM))
        assert isinstance(error, DecoderFailed), error
        assert "takes more than the 1 s of CPU time" in str(error)
        assert error_of(pool, clip_path) is None


def broken_files(clip: bytes) -> Iterator[bytes]:
    """Copies of a clip that are cut, have flipped bits or a wrong header, or hold anything."""
    random_numbers = random.Random(7)
    for index in range(BROKEN_FILES):
        data = bytearray(clip)
        match index % 4:
            case 0:
                del data[random_numbers.randrange(len(data)) :]
            case 1:
                for _ in range(random_numbers.choice((1, 30, 1000))):
                    data[random_numbers.randrange(len(data))] ^= 1 << random_numbers.randrange(8)
            case 2:
                at = data.index(b"moov")
                for _ in range(random_numbers.choice((1, 4, 30))):
                    data[at + random_numbers.randrange(1500)] = random_numbers.randrange(256)
            case _:
                data = bytearray(random_numbers.randbytes(random_numbers.choice((1, 100, 5000))))
        yield bytes(data)


def test_hundreds_of_broken_files_leave_nothing_behind(
    pool: DecoderPool, clip_path: Path, tmp_path: Path
) -> None:
    gc.collect()
    assert error_of(pool, clip_path) is None
    before = _resources()
    paths = []
    for index, data in enumerate(broken_files(clip_path.read_bytes())):
        paths.append(tmp_path / f"broken{index}.mp4")
        paths[-1].write_bytes(data)
    began = time.monotonic()
    with ThreadPoolExecutor(4) as threads:
        errors = list(threads.map(lambda path: error_of(pool, path, FrameSelection(num_frames=4)), paths))
    assert time.monotonic() - began < 60
    assert sum(error is not None for error in errors) > BROKEN_FILES / 3
    for error in errors:
        assert error is None or (isinstance(error, InputError) and str(error).startswith("broken")), error
    assert error_of(pool, clip_path) is None
    after = _resources()
    assert all(now <= earlier for now, earlier in zip(after, before, strict=True)), (before, after)


def _resources() -> tuple[int, int, int]:
    """Descriptors, mapped windows, and processes, once a killed child has gone."""
    gc.collect()
    descriptors = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    mapped = Path("/proc/self/maps").read_text().count("memfd:frames")
    return descriptors, mapped, settled(lambda: len(descendants()), quiet_s=0.2)


def test_playlists_and_session_descriptions_ask_no_server(pool: DecoderPool, tmp_path: Path) -> None:
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/seg.ts"
        playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{url}\n#EXT-X-ENDLIST\n"
        session = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\n"
        concat = f"ffconcat version 1.0\nfile '{url}'\nfile '/etc/passwd'\n"
        for name, text in (("list.m3u8", playlist), ("list.mp4", playlist), ("session.mp4", session)):
            (tmp_path / name).write_text(text)
            assert isinstance(error_of(pool, tmp_path / name), InputError)
        (tmp_path / "list.ffconcat").write_text(concat)
        assert isinstance(error_of(pool, tmp_path / "list.ffconcat"), InputError)
        server.shutdown()
    assert not asked


def test_no_child_survives_a_gateway_that_is_killed(heavy_video: Path) -> None:
    tests = Path(__file__).parents[2]
    script = (
        "import sys; from pathlib import Path; from decoder_uploads import started_pool, upload_from\n"
        "from deepfake_triton.preprocessing.video.sampling import FrameSelection\n"
        "with started_pool() as pool:\n"
        "    upload, selection = upload_from(Path(sys.argv[1])), FrameSelection(1, windows=40)\n"
        "    video = iter(pool.open_video(upload, selection, 60))\n"
        "    next(video); print('decoding', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(heavy_video)],
        env={**os.environ, "PYTHONPATH": str(tests)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as gateway:
        assert gateway.stdout is not None and gateway.stdout.readline() == b"decoding\n"
        below = {process.pid for process in descendants(gateway.pid)}
        assert len(below) == 2
        gateway.kill()
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() and not _is_zombie(pid) for pid in below):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True
