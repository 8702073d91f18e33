"""First message of a call: options about the file, checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from deepfake_triton.errors import InvalidFrames, InvalidOption, UploadMalformed
from deepfake_triton.gateway.grpc_service import messages
from deepfake_triton.preprocessing.video.sampling import FrameSelection, Sampling


@dataclass(frozen=True)
class DetectOptions:
    """What is asked about a file.

    Attributes:
        file_name: Name as the caller gave it.
        size_bytes: Declared size; None: not declared.
        selection: Frames to judge.
        operating_point: Name of the thresholds; None: the server's default ones.
    """

    file_name: str
    size_bytes: int | None
    selection: FrameSelection
    operating_point: str | None


def options_from_message(request: Any, max_windows: int) -> DetectOptions:
    """Return the options in the first DetectRequest of a call, which may ask for `max_windows`.

    Raises:
        UploadMalformed: The message holds no options.
        InvalidFrames: A value is out of range, or two exclude each other.
        InvalidOption: A sampling that this version does not know.
    """
    if (got := messages.part_of(request)) != "options":
        raise UploadMalformed(f"first message: got {got}, expected options; send them before the chunks")
    options = request.options
    return DetectOptions(
        options.file_name,
        _given(options, "size_bytes"),
        _selection(options, max_windows),
        _given(options, "operating_point") or None,
    )


def _selection(options: Any, max_windows: int) -> FrameSelection:
    default = FrameSelection()
    frames, windows = _given(options, "frames"), _given(options, "windows")
    if windows is not None and windows > max_windows:
        raise InvalidFrames(f"windows: got {windows}, expected {max_windows} at most; ask for fewer")
    return FrameSelection(
        default.num_frames if frames is None else frames,
        _sampling(options.sampling) or default.sampling,
        windows,
    )


def _sampling(number: int) -> Sampling | None:
    """Return the sampling of an enum value; None where it was left out."""
    value = messages.Sampling.values_by_number.get(number)
    if value is None:
        known = ", ".join(messages.Sampling.values_by_name)
        raise InvalidOption(f"sampling: got {number}, expected one of {known}")
    return Sampling[value.name] if number else None


def _given(options: Any, name: str) -> Any:
    return getattr(options, name) if options.HasField(name) else None
