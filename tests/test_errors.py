from __future__ import annotations

import inspect
import re

import pytest

from deepfake_triton import errors

pytestmark = pytest.mark.fast


def test_the_docstring_draws_the_hierarchy() -> None:
    drawn: dict[str, str] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"^    ((?:│   |    )*)(?:[├└]── )?([A-Z]\w+)", line)
        if found:
            depth = len(found[1]) // 4 + ("── " in line)
            path[depth:] = [found[2]]
            drawn[found[2]] = path[depth - 1] if depth else "Exception"
    classes = {name: kind for name, kind in vars(errors).items() if inspect.isclass(kind)}
    assert drawn == {name: kind.__mro__[1].__name__ for name, kind in classes.items()}
    assert all(kind.__doc__ for kind in classes.values())
