"""Select the video stream of a media file."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import av.error
from av.stream import Disposition

from deepfake_triton.errors import NoVideoStream, VideoUndecodable
from deepfake_triton.preprocessing.media.codec_names import read_codec_names
from deepfake_triton.preprocessing.media.container_probe import is_protected_asf
from deepfake_triton.preprocessing.media.iso_boxes import VideoTrack

COUNTED_PACKETS = 240
"""Number of packets that are read to compare streams whose frames the file does not count."""
_MIN_VIDEO_FRAMES, _MIN_VIDEO_FPS = 5, 2.0
"""Streams with fewer frames, or fewer per second, are thumbnails. FFmpeg has the same minimum of five."""

_NOT_VIDEO = Disposition.still_image | Disposition.timed_thumbnails | Disposition.dependent
_ACCESSIBILITY = Disposition.hearing_impaired | Disposition.visual_impaired


def video_streams(path: Path, container: Any) -> list[Any]:
    """Return the video streams of an open container, without cover art; `path` names it in messages.

    Raises NoVideoStream.
    """
    streams = [
        stream for stream in container.streams.video if not _disposition(stream) & Disposition.attached_pic
    ]
    if not streams:
        raise NoVideoStream(f"{path}: holds no video stream ({container.format.long_name})")
    return streams


def needs_packet_counts(streams: list[Any]) -> bool:
    """Return whether streams can only be compared by counting packets: the file has no numbers of frames."""
    return len(streams) > 1 and any(not stream.frames for stream in streams)


def count_packets(container: Any, streams: list[Any]) -> dict[int, int]:
    """Count the first packets of each stream, by its index, up to the first damage.

    Advances in the container: open it anew afterwards.
    """
    counts = dict.fromkeys((stream.index for stream in streams), 0)
    with contextlib.suppress(av.error.FFmpegError):
        for packet in container.demux(streams):
            counts[packet.stream.index] += bool(packet.size)
            if sum(counts.values()) >= COUNTED_PACKETS:
                break
    return counts


def select_stream(streams: list[Any], counts: Mapping[int, int], tracks: list[VideoTrack]) -> Any:
    """Select the main video stream. `counts` holds frames by stream index where the file has no numbers.

    By disposition, number of frames and size, as FFmpeg's av_find_best_stream and the `ffmpeg` command do,
    with two differences: thumbnails rank below videos even if they are the file's default, and a video that
    cannot be decoded, by the `tracks` of a movie or by its codec, ranks below other videos only.
    """
    frames = {stream.index: counts.get(stream.index, stream.frames) for stream in streams}
    longest = max(frames.values())

    def rank(stream: Any) -> tuple[int, ...]:
        disposition, count, codec = _disposition(stream), frames[stream.index], stream.codec_context
        is_slow = codec is not None and float(stream.average_rate or 25) <= _MIN_VIDEO_FPS
        return (
            not disposition & _NOT_VIDEO,
            min(count, 1 if is_slow else _MIN_VIDEO_FRAMES),
            codec is not None and _encryption(stream, tracks) is None,
            bool(disposition & Disposition.default) - bool(disposition & _ACCESSIBILITY),
            2 * count >= longest,
            codec.width * codec.height if codec is not None else 0,
            count,
        )

    return max(streams, key=rank)  # the first of equals


def require_decodable(
    path: Path, container: Any, stream: Any, *, file: BinaryIO, tracks: list[VideoTrack]
) -> None:
    """Raise VideoUndecodable naming the encryption of a stream, or the codec that has no decoder."""
    scheme = _encryption(stream, tracks)
    if container.format.name == "asf" and is_protected_asf(file):
        scheme = "Windows Media DRM"
    if scheme:
        raise VideoUndecodable(f"{path}: its video is encrypted (DRM: {scheme}); expected one in the clear")
    if stream.codec_context is None:
        name = _codec_name(container, stream, file, tracks=tracks)
        raise VideoUndecodable(f"{path}: there is no decoder for its video codec {name}; convert it to H.264")


def _disposition(stream: Any) -> Any:
    try:
        return stream.disposition
    except ValueError:  # a flag of an FFmpeg that is newer than this PyAV
        return Disposition(0)


def _encryption(stream: Any, tracks: list[VideoTrack]) -> str | None:
    """Return the encryption scheme, by the sample entry of a movie or the key tag of a Matroska track."""
    of_track = next((track.encryption for track in tracks if track.track_id == stream.id), None)
    return of_track or ("WebM encryption" if "enc_key_id" in stream.metadata else None)


def _codec_name(container: Any, stream: Any, file: BinaryIO, *, tracks: list[VideoTrack]) -> str:
    """Return the codec as the file spells it."""
    for track in tracks:
        if track.track_id == stream.id:
            return repr(track.codec)
    names = read_codec_names(file)
    order = [video.index for video in container.streams.video].index(stream.index)
    return (
        repr(names[order]) if order < len(names) else f"(unknown to FFmpeg, in {container.format.long_name})"
    )
