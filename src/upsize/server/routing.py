"""Routes that match a whole path. Starlette's `$` also matches before a final line feed, and its `.` matches none."""

from __future__ import annotations

import re
from typing import Any

from starlette.routing import Mount, Route


class WholeRoute(Route):
    """A route whose path, and a parameter like `{id:path}`, may hold any character."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.path_regex = _whole(self.path_regex)


class WholeMount(Mount):
    """As WholeRoute, for a folder of files."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.path_regex = _whole(self.path_regex)


def _whole(compiled: re.Pattern[str]) -> re.Pattern[str]:
    assert compiled.pattern.endswith("$")  # as Starlette writes them
    return re.compile(compiled.pattern[:-1] + r"\Z", compiled.flags | re.DOTALL)
