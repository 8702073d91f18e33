from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepfake_triton.errors import EngineError
from deepfake_triton.export.tensorrt.profiles import profile_from_text, profiles_for
from deepfake_triton.repository.engine_record import ShapeProfile

pytestmark = pytest.mark.fast


@given(st.lists(st.tuples(*[st.integers(1, 99)] * 3), min_size=1, max_size=5))
def test_a_profile_reads_as_it_is_written(sizes: list[tuple[int, int, int]]) -> None:
    shapes = list(zip(*(sorted(bounds) for bounds in sizes), strict=True))
    text = ",".join("x".join(str(size) for size in shape) for shape in shapes)
    assert profile_from_text(f"a=b={text}") == ("a=b", ShapeProfile(*shapes))


@pytest.mark.parametrize("text", ["", "x", "x=1", "x=1,2", "x=1,2,3,4", "=1,2,3", "x=1xa,2x2,3x3"])
def test_what_is_no_profile_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        profile_from_text(text)


def test_the_projects_own_inputs_have_profiles_of_the_contract() -> None:
    shapes = {"frames": (-1, -1, -1, 3), "faces": (-1, -1, 160, 160, 3), "features": (-1, -1, 2048)}
    found = profiles_for(shapes, {})
    assert found["frames"].max == (64, 640, 640, 3) and found["frames"].min == (1, 1, 1, 3)
    assert found["faces"].max == (32, 64, 160, 160, 3)
    assert found["features"].opt[1] == 20 and 1 < found["features"].opt[0] < 32


def test_named_profiles_come_first_and_have_to_fit() -> None:
    shapes = {"features": (-1, -1, 8)}
    own = ShapeProfile((1, 2, 8), (1, 3, 8), (2, 4, 8))
    assert profiles_for(shapes, {"features": own}) == {"features": own}
    assert profiles_for({"fixed": (2, 3)}, {}) == {}
    for wrong in (
        ShapeProfile((1, 2, 8), (1, 1, 8), (2, 4, 8)),
        ShapeProfile((1, 2, 7), (1, 3, 8), (2, 4, 8)),
        ShapeProfile((1, 2), (1, 3), (2, 4)),
        ShapeProfile((0, 2, 8), (1, 3, 8), (2, 4, 8)),
    ):
        with pytest.raises(EngineError, match=r"expected MIN ≤ OPT ≤ MAX of the shape -1x-1x8"):
            profiles_for(shapes, {"features": wrong})
    with pytest.raises(EngineError, match="no such input, only features"):
        profiles_for(shapes, {"faces": own})
    with pytest.raises(EngineError, match="pass --profile x=MIN,OPT,MAX"):
        profiles_for({"x": (-1, 3)}, {})
