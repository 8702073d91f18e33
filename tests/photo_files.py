"""Photo files by construction: quarters of four colors, stored as cameras store them, with EXIF data by
hand."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
from support import quarters

from deepfake_triton.arrays import Image


def stored(value: int) -> Image:
    """Quarters as a camera stores them, by which row and column of the scene come first (Exif, 4.6.4)."""
    scene = quarters(200, 120)
    return {
        1: scene,  # top, left
        2: scene[:, ::-1],  # top, right
        3: scene[::-1, ::-1],  # bottom, right
        4: scene[::-1],  # bottom, left
        5: scene.transpose(1, 0, 2),  # left, top
        6: scene.transpose(1, 0, 2)[::-1],  # right, top
        7: scene.transpose(1, 0, 2)[::-1, ::-1],  # right, bottom
        8: scene.transpose(1, 0, 2)[:, ::-1],  # left, bottom
    }[value]


def encoded(image: Image, suffix: str = "jpg") -> bytes:
    done, data = cv2.imencode(f".{suffix}", np.ascontiguousarray(image[..., ::-1]))
    assert done
    return data.tobytes()


def exif(value: int, order: str = ">") -> bytes:
    """Another tag, then the orientation."""
    entries = (
        struct.pack(f"{order}HHIHxx", 0x0112, 3, 1, value),
        struct.pack(f"{order}HHII", 0x0100, 4, 1, 9),
    )
    head = (b"MM\0*" if order == ">" else b"II*\0") + struct.pack(f"{order}I", 8)
    return head + struct.pack(f"{order}H", 2) + entries[1] + entries[0] + bytes(4)


def segment(marker: int, payload: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload


def jpeg(image: Image, *segments: bytes) -> bytes:
    data = encoded(image)
    return data[:2] + b"".join(segments) + data[2:]


def jpeg_photo(value: int) -> bytes:
    """Its Exif segment holds a thumbnail, which is a JPEG file of its own."""
    thumbnail = encoded(np.zeros((16, 16, 3), np.uint8))
    return jpeg(
        stored(value),
        segment(0xE0, b"JFIF\0" + bytes(9)),
        segment(0xE1, b"Exif\0\0" + exif(value) + thumbnail),
    )


def png_photo(value: int) -> bytes:
    data, body = encoded(stored(value), "png"), b"eXIf" + exif(value, "<")
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    at = len(data) - 12 if value % 2 else 33  # behind the pixels, or before them
    return data[:at] + chunk + data[at:]


def webp_photo(value: int) -> bytes:
    image = stored(value)
    size = struct.pack("<I", image.shape[1] - 1)[:3] + struct.pack("<I", image.shape[0] - 1)[:3]
    chunks = b"VP8X" + struct.pack("<II", 10, 0x08) + size + encoded(image, "webp")[12:]
    data = (b"Exif\0\0" if value % 2 else b"") + exif(value, "<")
    chunks += b"EXIF" + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)
    return b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WEBP" + chunks


def tiff_photo(value: int) -> bytes:
    """Uncompressed, with the directory behind the pixels (TIFF 6.0)."""
    image = np.ascontiguousarray(stored(value))
    height, width = image.shape[:2]
    pixels = image.tobytes()
    directory = 8 + len(pixels)
    fields = {
        256: (3, 1, width), 257: (3, 1, height), 258: (3, 3, directory + 2 + 12 * 11 + 4), 259: (3, 1, 1),
        262: (3, 1, 2), 273: (4, 1, 8), 274: (3, 1, value), 277: (3, 1, 3), 278: (3, 1, height),
        279: (4, 1, len(pixels)), 284: (3, 1, 1),
    }  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, *field) for tag, field in fields.items())
    bits = struct.pack("<HHH", 8, 8, 8)
    return (
        b"II*\0" + struct.pack("<I", directory) + pixels + struct.pack("<H", 11) + entries + bytes(4) + bits
    )


PHOTOS = {"jpg": jpeg_photo, "png": png_photo, "webp": webp_photo, "tiff": tiff_photo}
