"""A gateway process under a large upload, and under hundreds of small ones: what it holds, what it leaves."""

from __future__ import annotations

import hashlib
import re
import secrets
import socket
import struct
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

import httpx
import pytest
from detector_calls import as_json, call, messages, without_nulls
from gateway_process import GatewayProcess, gateway_process
from process_watch import everyone, files_under, holdings_of, peak_growth
from serve_command import wait_until

from deepfake_triton.json_object import JsonObject
from deepfake_triton.serving.server import TritonServer

pytestmark = pytest.mark.slow

MIB, GIB = 2**20, 2**30
MAX_GROWTH_BYTES = 150_000_000

UPLOADS = 500
WARM_UP = 100
AT_ONCE = 4
LEAVES_AFTER_S = 0.05
MAX_MORE_THREADS = 12
MAX_SMALL_GROWTH_BYTES = 24 * MIB
MEMORY = Path("/dev/shm")


@pytest.fixture
def gateway(published_server: TritonServer, tmp_path: Path) -> Iterator[GatewayProcess]:
    """A gateway process whose folder is `tmp_path`."""
    with gateway_process(published_server.url, tmp_path) as running:
        yield running


@pytest.fixture(scope="module")
def large_clip(clip_bytes: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled clip before a box of 1 GiB that says nothing; a sparse file."""
    path = tmp_path_factory.mktemp("large") / "large.mp4"
    with path.open("wb") as file:
        file.write(clip_bytes + free_box_header(GIB))
        file.truncate(len(clip_bytes) + GIB)
    return path


def free_box_header(size_bytes: int) -> bytes:
    """Header of a box that readers of MP4 skip (ISO/IEC 14496-12, 8.1.2)."""
    return struct.pack(">I4s", size_bytes, b"free")


def judged(document: JsonObject) -> JsonObject:
    """A verdict without what differs from one upload to the next."""
    return without_nulls({key: each for key, each in document.items() if key not in ("latency_ms", "video")})


def detect_raw(gateway: GatewayProcess, file: BinaryIO) -> JsonObject:
    with httpx.Client(base_url=gateway.url, timeout=120, trust_env=False) as http:
        return _verdict(http.post("/v1/detect?frames=8", content=file))


def detect_form(gateway: GatewayProcess, file: BinaryIO) -> JsonObject:
    with httpx.Client(base_url=gateway.url, timeout=120, trust_env=False) as http:
        return _verdict(http.post("/v1/detect?frames=8", files={"file": ("a.mp4", file)}))


def detect_by_grpc(gateway: GatewayProcess, file: BinaryIO) -> JsonObject:
    def requests() -> Iterator[object]:
        yield messages.DetectRequest(options=messages.Options(file_name="a.mp4", frames=8))
        while chunk := file.read(MIB):
            yield messages.DetectRequest(chunk=chunk)

    *_, last = call(gateway.grpc, requests())
    return as_json(last.verdict)


def _verdict(answer: httpx.Response) -> JsonObject:
    assert answer.status_code == 200, answer.text
    document: JsonObject = answer.json()
    return document


@pytest.mark.parametrize("detect", [detect_raw, detect_form, detect_by_grpc])
def test_an_upload_of_a_gigabyte_takes_little_memory(
    gateway: GatewayProcess,
    clip_path: Path,
    large_clip: Path,
    detect: Callable[[GatewayProcess, BinaryIO], JsonObject],
) -> None:
    spool, pid = gateway.folder / "spool", gateway.process.pid
    with clip_path.open("rb") as small:
        expected = judged(detect(gateway, small))
    assert expected["faces"], "a verdict worth comparing"
    with peak_growth(pid) as growth_bytes, large_clip.open("rb") as large:
        assert judged(detect(gateway, large)) == expected
        assert growth_bytes() < MAX_GROWTH_BYTES
    print(f"peak memory of 1 GiB: +{growth_bytes() / 1e6:.1f} MB")
    assert wait_until(lambda: not files_under(spool, everyone()), 10), "its room on the disk is free again"
    assert list(spool.iterdir()) == []


@dataclass(frozen=True)
class SmallUpload:
    """One of many uploads: a clip, a file that is none, one that was cut off, or a caller that leaves.

    Attributes:
        number: Which one; the last digit says of which kind.
        name: File name that no other upload has.
        content: Bytes that no other upload has.
    """

    number: int
    name: str
    content: bytes

    @property
    def kind(self) -> str:
        """One of the kinds in OUTCOMES."""
        return {5: "no video", 6: "cut file", 7: "leaves early", 8: "leaves late"}.get(
            self.number % 10, "clip"
        )

    @property
    def has_preview(self) -> bool:
        """Whether a copy is asked for, which the gateway keeps for a while, in a file without a name."""
        return self.number % 10 == 1

    @property
    def traces(self) -> tuple[str, ...]:
        """Texts that would tell of the upload."""
        return self.name, hashlib.sha256(self.content).hexdigest(), self.content[-32:].decode()


OUTCOMES = {
    "clip": (200, None),
    "no video": (422, "NotAVideo"),
    "cut file": (422, "VideoUndecodable"),
    "leaves early": (0, None),
    "leaves late": (0, None),
}


def small_upload(number: int, clip: bytes) -> SmallUpload:
    """Return the upload of a number, with a name and bytes of its own."""
    name, mark = f"{secrets.token_hex(8)}.mp4", secrets.token_hex(16).encode()
    whole = clip + free_box_header(8 + len(mark)) + mark
    upload = SmallUpload(number, name, whole)
    if upload.kind == "no video":
        return SmallUpload(number, name, b"no video " + mark)
    return SmallUpload(number, name, clip[: len(clip) // 3] + mark) if upload.kind == "cut file" else upload


def send(gateway: GatewayProcess, upload: SmallUpload) -> tuple[int, JsonObject]:
    """Send an upload, and return status and answer; status 0: the caller left."""
    if upload.kind.startswith("leaves"):
        leave(gateway, upload)
        return 0, {}
    with httpx.Client(base_url=gateway.url, timeout=60, trust_env=False) as http:
        if upload.number % 2:
            files, form = {"file": (upload.name, upload.content)}, {"preview": str(int(upload.has_preview))}
            answer = http.post("/v1/detect?frames=4", files=files, data=form)
        else:
            headers = {"X-Filename": upload.name}
            answer = http.post("/v1/detect?frames=4", content=upload.content, headers=headers)
    assert answer.status_code != 200 or answer.json()["video"] == upload.name
    return answer.status_code, answer.json()


def leave(gateway: GatewayProcess, upload: SmallUpload) -> None:
    """Close the connection in the middle of the body, or where the answer is due."""
    address = urlsplit(gateway.url)
    head = (
        f"POST /v1/detect?frames=4 HTTP/1.1\r\nHost: {address.netloc}\r\nX-Filename: {upload.name}\r\n"
        f"Content-Length: {len(upload.content)}\r\n\r\n"
    )
    sent = len(upload.content) // (2 if upload.kind == "leaves early" else 1)
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=30) as connection:
        connection.sendall(head.encode() + upload.content[:sent])
        time.sleep(LEAVES_AFTER_S)


def metrics_of(gateway: GatewayProcess) -> dict[str, float]:
    """The gateway's metrics by name and labels."""
    text = httpx.get(f"{gateway.url}/metrics", trust_env=False).text
    return {name: float(value) for name, value in re.findall(r"^(gateway_\S+) (\S+)$", text, re.MULTILINE)}


def is_idle(gateway: GatewayProcess) -> bool:
    """Whether no job runs or waits."""
    metrics = metrics_of(gateway)
    return metrics["gateway_jobs_running"] == metrics["gateway_jobs_queued"] == 0


def text_under(folder: Path) -> str:
    """All names and contents of a folder's files, also of those that the gateway keeps open."""
    found = [*map(str, folder.rglob("*")), *files_under(folder, everyone())]
    files = [path.read_text(errors="replace") for path in folder.rglob("*") if path.is_file()]
    return "\n".join([*found, *files])


def test_hundreds_of_uploads_leave_nothing_behind(gateway: GatewayProcess, brief_clip: Path) -> None:
    clip, pid, spool = brief_clip.read_bytes(), gateway.process.pid, gateway.folder / "spool"
    uploads = [small_upload(number, clip) for number in range(UPLOADS)]
    with ThreadPoolExecutor(AT_ONCE) as threads:
        answers = list(threads.map(lambda upload: send(gateway, upload), uploads[:WARM_UP]))
        assert wait_until(lambda: is_idle(gateway), 20)
        before = holdings_of(pid, apart_from=spool)
        answers += threads.map(lambda upload: send(gateway, upload), uploads[WARM_UP:])
        assert wait_until(lambda: is_idle(gateway), 20)
    for upload, (status, document) in zip(uploads, answers, strict=True):
        assert (status, document.get("error") if status != 200 else None) == OUTCOMES[upload.kind], document
    verdicts = [judged(document) for status, document in answers if status == 200]
    assert verdicts[0]["faces"] and all(verdict == verdicts[0] for verdict in verdicts)
    require_all_counted(metrics_of(gateway), uploads)

    previews = sum(upload.has_preview for upload in uploads)
    assert wait_until(lambda: len(files_under(spool, {pid})) == previews, 20)
    assert wait_until(lambda: holdings_of(pid, apart_from=spool).num_files <= before.num_files, 20)
    after = holdings_of(pid, apart_from=spool)
    print(before, after, sep="\n")
    assert after.memory_bytes <= before.memory_bytes + MAX_SMALL_GROWTH_BYTES
    assert after.children == before.children and len(after.children) == 1, "the process that forks decoders"
    assert after.num_threads <= before.num_threads + MAX_MORE_THREADS, "pools fill up, and no further"
    assert not [path for path in MEMORY.glob("deepfake-triton-client-*") if f"-{pid}-" in path.name]
    text = text_under(gateway.folder)
    assert text.count("POST /v1/detect 200") >= len(verdicts), "the log has its lines"
    assert not [trace for upload in uploads for trace in upload.traces if trace in text]
    assert list(spool.iterdir()) == list((gateway.folder / "tmp").iterdir()) == []


def require_all_counted(metrics: dict[str, float], uploads: list[SmallUpload]) -> None:
    """Check that each upload is one job, or was cut off; who leaves late may be too early or too late."""
    count = {kind: sum(upload.kind == kind for upload in uploads) for kind in OUTCOMES}
    done, failed, canceled = (
        metrics[f'gateway_jobs_total{{outcome="{state}"}}'] for state in ("done", "failed", "canceled")
    )
    cut_off = metrics['gateway_refused_total{error="UploadMalformed"}']
    assert failed == count["no video"] + count["cut file"]
    assert done >= count["clip"] and cut_off >= count["leaves early"] and canceled
    assert done + failed + canceled + cut_off == len(uploads)
