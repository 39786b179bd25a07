"""Fixtures: the compiled library and each of its levels. Without it these tests are skipped."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

import pytest

from upsize.compute.native.library import LEVELS, library


@pytest.fixture(scope="session")
def built() -> ctypes.CDLL:
    found = library()
    if found is None:
        pytest.skip("the compiled kernels are not built; build them with a C++ compiler: pip install -e .")
    return found


@pytest.fixture(params=LEVELS)
def level(request: pytest.FixtureRequest, built: ctypes.CDLL) -> Iterator[str]:
    """Runs the test with the kernels of one level."""
    wanted, best = LEVELS.index(request.param), built.upsize_best_level()
    if wanted > best:
        pytest.skip(f"this processor runs levels up to {LEVELS[best]}; a newer one runs the rest")
    built.upsize_level(wanted)
    yield request.param
    built.upsize_level(best)
