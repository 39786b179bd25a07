"""Results find back to their rows, and an error in the model to its line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from upsize.engine import Result, Times
from upsize.errors import InvalidInput, NonFiniteVector, OutOfMemory, TextTooLong, Unavailable, UpsizeError
from upsize.fingerprint import Fingerprint
from upsize.io import Format, Source
from upsize.jobs.input_rows import InputRow
from upsize.jobs.output_formats import Npy
from upsize.jobs.pairing import Pairing

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


def rows() -> Iterator[InputRow[str]]:
    return (InputRow(2 * i, i, text) for i, text in enumerate(TEXTS, 1))


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


class Fussy(Lengths):
    """A model that cannot take some words: all of a request fails, and the error names each, the first, or none."""

    def __init__(self, names: Callable[[list[int]], Exception]) -> None:
        super().__init__()
        self._names, self.calls = names, 0

    def stream(self, texts: Iterator[str]) -> Iterator[Result]:
        done = 0
        while chunk := list(islice(texts, 64)):
            self.calls += 1
            words = [word for text in chunk for word in text.split()]
            if bad := [i + done for i, word in enumerate(words) if word.startswith("bad")]:
                raise self._names(bad)
            done += len(words)
            yield self._result(chunk)


ERRORS = [
    lambda bad: NonFiniteVector(bad[0], "float16", bad),
    lambda bad: NonFiniteVector(bad[0], "float16"),
    lambda bad: InvalidInput("too much", index=bad[0]),
    lambda bad: OutOfMemory(9, "cpu"),
]


@pytest.mark.parametrize("names", ERRORS)
@pytest.mark.parametrize("bad", [{0}, {299}, {5, 6, 70}, set(range(64, 128)), {0, 63, 64, 127, 128, 299}, set()])
def test_a_row_that_the_model_cannot_take_is_left_out_alone(
    names: Callable[[list[int]], Exception], bad: set[int]
) -> None:
    work, out = Fussy(names), {}
    given = [InputRow(i + 1, None, f"good {'bad' * 2 if i in bad else 'x' * (i % 9 + 1)}") for i in range(300)]
    results = [r for part in Pairing(SOURCE, work, out.__setitem__).run(iter(given)) for r in part]
    assert [r["line"] for r in results] == [i + 1 for i in range(300) if i not in bad]
    assert all(r["lengths"] == [len(w) for w in str(given[r["line"] - 1].value).split()] for r in results)
    assert sorted(out) == [i + 1 for i in sorted(bad)]
    assert work.calls <= 5 + 14 * len(bad)


def test_an_error_that_spares_no_row_ends_the_run() -> None:
    work, out = Fussy(lambda bad: OutOfMemory(9, "cpu")), {}
    given = (InputRow(i, None, "bad") for i in range(100_000))
    with pytest.raises(OutOfMemory):
        list(Pairing(SOURCE, work, out.__setitem__).run(given))
    assert work.calls <= 200


def test_an_error_that_no_row_causes_is_raised() -> None:
    work = Lengths(lambda: Unavailable("closing"))
    with pytest.raises(Unavailable):
        list(Pairing(SOURCE, work, {}.__setitem__).run(rows()))


@pytest.mark.parametrize(("rows_", "left"), [(10, 9), (1000, 7), (10**9, 1)])
def test_an_npy_header_is_written_again_for_fewer_rows(tmp_path: Path, rows_: int, left: int) -> None:
    encoding, data = Npy(rows_, 3), tmp_path / "data"
    vectors = np.arange(3 * left, dtype=np.float32).reshape(left, 3)
    data.write_bytes(encoding.header() + encoding.block([{"embedding": v} for v in vectors]))
    np.testing.assert_array_equal(np.load(encoding.build(data)), vectors)
