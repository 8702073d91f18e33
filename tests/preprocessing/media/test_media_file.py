"""Files that are no readable video are described: by their kind, what is missing, or what encrypts them."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import av
import pytest
from support import quarters, write_clip

from deepfake_triton.errors import NotAVideo, VideoNotFound, VideoUndecodable
from deepfake_triton.preprocessing.video.clip import decode_clip

pytestmark = pytest.mark.fast

CENC = {
    "encryption_scheme": "cenc-aes-ctr",
    "encryption_key": "76a6c65c5ea762046bd749a2e632ccbb",
    "encryption_kid": "a7e61c373e219033c21091fa607bf3b8",
}


def test_names_that_no_file_can_have_are_shown() -> None:
    with pytest.raises(VideoNotFound, match=r"^b\\0\.mp4: .* NUL character$"):
        decode_clip(Path("b\0.mp4"))
    with pytest.raises(VideoNotFound, match=r"^the name of the video is empty; expected the path"):
        decode_clip("")


@pytest.mark.parametrize(
    "name", ["x%d.jpg", "%03d.png", "concat:a|b.mp4", "pipe:0", "-", "*.jpg", "x[1-3].png"]
)
def test_a_name_means_nothing_to_ffmpeg(tmp_path: Path, name: str) -> None:
    plain = write_clip(tmp_path / "a.mp4", [quarters()] * 3)
    named = plain.rename(tmp_path / name)
    assert len(decode_clip(named).frames.data) == 3
    with named.open("rb") as file:
        assert len(decode_clip(file).frames.data) == 3


@pytest.mark.parametrize("faststart", [True, False])
@pytest.mark.parametrize("kept", [20, 100, 400])
def test_a_movie_without_its_index_is_called_cut(tmp_path: Path, kept: int, faststart: bool) -> None:
    options = {"movflags": "faststart"} if faststart else {}
    path = write_clip(tmp_path / "a.mp4", [quarters()] * 5, container_options=options)
    whole = path.read_bytes()
    path.write_bytes(whole[:kept])
    with pytest.raises(
        VideoUndecodable, match=r"a\.mp4: an MP4 without a readable index \(moov\), \d+ bytes are missing"
    ):
        decode_clip(path)


def test_metadata_in_any_encoding_is_no_obstacle(tmp_path: Path) -> None:
    """Neither is PyAV 19, which does not know the option that earlier versions need for it."""
    path = write_clip(tmp_path / "plain.mkv", [quarters()] * 3, title="caf*")
    path.write_bytes(path.read_bytes().replace(b"caf*", b"caf\xe9"))
    assert len(decode_clip(path).frames) == 3


@pytest.mark.parametrize("movflags", ["faststart", "frag_keyframe+empty_moov"])
def test_encrypted_video_is_named_before_it_is_decoded(tmp_path: Path, movflags: str) -> None:
    clip = write_clip(tmp_path / "clear.mp4", [quarters()] * 30)
    path = tmp_path / "drm.mp4"
    with (
        av.open(str(clip)) as source,
        av.open(str(path), "w", container_options={**CENC, "movflags": movflags}) as target,
    ):
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    with pytest.raises(VideoUndecodable, match=r"encrypted \(DRM: Common Encryption, scheme 'cenc'\)"):
        decode_clip(path)


def test_windows_media_with_drm_is_named(tmp_path: Path) -> None:
    """A Content Encryption Object at the start of the header, whose size and number of objects grow."""
    path = write_clip(tmp_path / "a.wmv", [quarters()] * 5, codec="wmv2")
    data = path.read_bytes()
    size, count = struct.unpack("<QI", data[16:28])
    drm = bytes.fromhex("fbb3112223bdd211b4b700a0c955fc6e") + struct.pack("<Q", 40) + bytes(16)
    assert len(decode_clip(path).frames) == 5
    path.write_bytes(data[:16] + struct.pack("<QI", size + 40, count + 1) + data[28:30] + drm + data[30:])
    with pytest.raises(VideoUndecodable, match="Windows Media DRM"):
        decode_clip(path)


def test_encrypted_matroska_is_named(tmp_path: Path) -> None:
    """ContentEncodings with an encryption (RFC 9559, 5.1.4.1.31) in the place of the track's name."""

    def element(name: str, payload: bytes) -> bytes:
        return bytes.fromhex(name) + bytes([0x80 | len(payload)]) + payload

    key = element("47E1", b"\5") + element("47E2", b"0123456789abcdef")
    encoding = element("6240", element("5033", b"\1") + element("5035", key))
    path = tmp_path / "drm.webm"
    with av.open(str(path), "w", format="matroska") as container:
        stream: Any = container.add_stream("libx264", rate=25)
        stream.metadata["title"] = "x" * len(encoding)
        stream.height, stream.width, stream.pix_fmt = 64, 64, "yuv420p"
        frame = av.VideoFrame.from_ndarray(quarters(64, 64), format="rgb24")
        container.mux([*stream.encode(frame), *stream.encode(None)])
    data = path.read_bytes()
    name = element("536E", b"x" * len(encoding))
    assert len(decode_clip(path).frames) == 1 and data.count(name) == 1
    path.write_bytes(data.replace(name, element("6D80", encoding)))
    with pytest.raises(VideoUndecodable, match="encrypted"):
        decode_clip(path)


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"%PDF-1.7\n", "a PDF"),
        (b"PK\x03\x04", "a ZIP archive"),
        (b"\n<!DOCTYPE html><html>", "a web page"),
        (b"#EXTM3U\n#EXTINF:10,\nvideo.ts\n", "a playlist"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
        (b'{"error": "not found"}', "JSON"),
        ("Grüße, nur ein Text. ".encode() * 60, "text"),
        (gzip.compress(b"x" * 500, mtime=0), "gzip"),
    ],
)
def test_what_is_no_video_is_called_what_it_is(tmp_path: Path, head: bytes, kind: str) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(head)
    with pytest.raises(NotAVideo, match=f"not a video, but .*{kind}"):
        decode_clip(path)
