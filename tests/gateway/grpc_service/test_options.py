from __future__ import annotations

from typing import Any

import pytest

from deepfake_triton.errors import InputError, InvalidFrames, InvalidOption, UploadMalformed
from deepfake_triton.gateway.grpc_service import options
from deepfake_triton.gateway.grpc_service.messages import DetectRequest
from deepfake_triton.preprocessing.video.sampling import FrameSelection, Sampling

pytestmark = pytest.mark.fast

MAX_WINDOWS = 1000


def options_of(request: Any) -> options.DetectOptions:
    return options.options_from_message(request, MAX_WINDOWS)


def request_with(**options: Any) -> Any:
    request = DetectRequest()
    request.options.SetInParent()
    for name, value in options.items():
        setattr(request.options, name, value)
    return request


def test_without_options_the_selection_is_that_of_detect() -> None:
    found = options_of(request_with())
    assert found.selection == FrameSelection()
    assert (found.file_name, found.size_bytes, found.operating_point) == ("", None, None)


@pytest.mark.parametrize(
    ("given", "selection"),
    [
        ({"frames": 8, "windows": 3}, FrameSelection(8, windows=3)),
        ({"sampling": 2}, FrameSelection(sampling=Sampling.UNIFORM)),
        ({"sampling": 0, "windows": 1}, FrameSelection(windows=1)),
        ({"windows": MAX_WINDOWS}, FrameSelection(windows=MAX_WINDOWS)),
    ],
)
def test_options_select_frames(given: dict[str, int], selection: FrameSelection) -> None:
    assert options_of(request_with(**given)).selection == selection


def test_the_rest_is_passed_on() -> None:
    found = options_of(request_with(file_name="a/öl.mp4", size_bytes=2**40, operating_point="conservative"))
    assert (found.file_name, found.size_bytes, found.operating_point) == (
        "a/öl.mp4",
        2**40,
        "conservative",
    )


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"frames": 0}, InvalidFrames),
        ({"frames": 65}, InvalidFrames),
        ({"windows": 0}, InvalidFrames),
        ({"windows": MAX_WINDOWS + 1}, InvalidFrames),
        ({"windows": 2**32 - 1}, InvalidFrames),
        ({"windows": 2, "sampling": 2}, InvalidFrames),
        ({"sampling": 9}, InvalidOption),
    ],
)
def test_options_out_of_range_are_refused(given: dict[str, int], error: type[InputError]) -> None:
    with pytest.raises(error):
        options_of(request_with(**given))


@pytest.mark.parametrize("request_", [DetectRequest(), DetectRequest(chunk=b"x")])
def test_options_come_first(request_: Any) -> None:
    with pytest.raises(UploadMalformed, match="expected options"):
        options_of(request_)
