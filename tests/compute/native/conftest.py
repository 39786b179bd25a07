"""Every level of the kernels that this machine runs; all of this room is skipped where they were not built."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

import pytest

from upsize.compute.native.library import LEVELS, library


@pytest.fixture(scope="session")
def built() -> ctypes.CDLL:
    found = library()
    if found is None:
        pytest.skip("the compiled kernels are not built: pip install -e . with a compiler at hand")
    return found


@pytest.fixture(params=LEVELS)
def level(request: pytest.FixtureRequest, built: ctypes.CDLL) -> Iterator[str]:
    """Run with the kernels of one level."""
    wanted, best = LEVELS.index(request.param), built.upsize_best_level()
    if wanted > best:
        pytest.skip(f"this processor runs {LEVELS[best]} at most")
    built.upsize_level(wanted)
    yield request.param
    built.upsize_level(best)
