"""Results find back to their rows, and an error in the model to its line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from upsize.cli.files.bulk import Pairing
from upsize.cli.files.rows import Row
from upsize.engine import Result, Times
from upsize.errors import InvalidInput, NonFiniteVector, TextTooLong, UpsizeError
from upsize.io import Format, Source
from upsize.space import Fingerprint

SOURCE = Source("rows.jsonl", Path("rows.jsonl"), Format.JSONL)
FINGERPRINT = Fingerprint("", "", "", "", 8, 1, False, "float32", "none")


class Lengths:
    """A model that gives each word of a text its length, three texts at a time, reading ahead as the engine does."""

    def __init__(self, failure: Callable[[], Exception] | None = None) -> None:
        self._failure = failure

    def size(self, text: str) -> int:
        return len(text.split())

    def stream(self, texts: Iterator[str]) -> Iterator[Result]:
        while chunk := list(islice(texts, 3)):
            ahead = list(islice(texts, 3))
            yield self._result(chunk)
            if self._failure is not None:
                raise self._failure()
            if ahead:
                yield self._result(ahead)

    def _result(self, texts: list[str]) -> Result:
        lengths = [len(word) for text in texts for word in text.split()]
        ones = (1,) * len(lengths)
        return Result(np.asarray(lengths, np.float32), ones, ones, FINGERPRINT, Times(0, 0, 0))

    def columns(self, values: np.ndarray) -> dict[str, Any]:
        return {"lengths": values.tolist()}


TEXTS = ["a", "bb cc", "d e ffff", "g", "hhh i", "j", "k l"]


def rows() -> Iterator[Row[str]]:
    return (Row(2 * i, i, text) for i, text in enumerate(TEXTS, 1))


def test_results_and_rows_stay_together() -> None:
    results = [result for part in Pairing(SOURCE, Lengths()).run(rows()) for result in part]
    for row, result in zip(rows(), results, strict=True):
        words = str(row.value).split()
        assert result == {
            "id": row.id,
            "line": row.line,
            "tokens": len(words),
            "lost_tokens": len(words),
            "lengths": [len(word) for word in words],
        }


@pytest.mark.parametrize(("index", "line"), [(6, 8), (7, 10), (8, 10), (9, 12)])
def test_an_error_names_the_line(index: int, line: int) -> None:
    with pytest.raises(UpsizeError, match=rf"^rows.jsonl, line {line}: NaN or infinite values in float16"):
        list(Pairing(SOURCE, Lengths(lambda: NonFiniteVector(index, "float16"))).run(rows()))
    with pytest.raises(InvalidInput, match=rf"^rows.jsonl, line {line}: 9 tokens, and at most 8 are taken"):
        list(Pairing(SOURCE, Lengths(lambda: TextTooLong(9, 8, param="input", index=index))).run(rows()))
