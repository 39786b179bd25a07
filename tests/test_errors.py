"""The tree drawn at the top of errors.py is the tree, and messages say what, where and what to do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from upsize import errors

TREE = re.compile(r"^    (?P<branches>[│├└─ ]*)(?P<name>[A-Z]\w+)", re.MULTILINE)


def drawn() -> dict[str, str]:
    """Class → its parent, as drawn."""
    assert errors.__doc__ is not None
    path: list[str] = []
    parents = {}
    for line in TREE.finditer(errors.__doc__):
        depth = len(line["branches"]) // 4
        path[depth:] = [line["name"]]
        parents[line["name"]] = path[depth - 1] if depth else "Exception"
    return parents


def test_the_drawing_is_the_tree() -> None:
    classes = {name: getattr(errors, name) for name in errors.__all__}
    assert drawn() == {name: cls.__bases__[0].__name__ for name, cls in classes.items()}


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (errors.CheckpointError("a/b", "weights", "none", "Look."), "a/b: expected weights; found none. Look."),
        (errors.CheckpointError(Path("b"), "weights", "none"), "b: expected weights; found none."),
        (
            errors.TextTooLong(9, 8, param="input", index=3),
            "input[3] has 9 tokens and this model takes 8. Send a shorter text, or allow truncation "
            '(in a request "truncate": true, in Python truncate=True, for a whole server --allow-auto-truncate).',
        ),
        (
            errors.InvalidDimension(31, 32, 1024),
            "dimensions is 31; this model gives any whole number from 32 to 1024.",
        ),
        (errors.UnknownModel("x", ["a", "b"]), "The model 'x' is not served here. Served: a, b."),
        (errors.UnknownModel("x", [], "is not a reranker"), "The model 'x' is not a reranker. Served: none."),
        (
            errors.Overloaded(700, 35.2, 2.4),
            "The queue holds 700 tokens, of which this request would wait for about 35 seconds, and takes no more. "
            "Try again in 3 seconds: then there is room for it.",
        ),
        (
            errors.MissingExtra("Parquet", "pyarrow", "data"),
            "Parquet needs the package 'pyarrow': pip install 'upsize[data]'.",
        ),
    ],
)
def test_messages(error: errors.UpsizeError, message: str) -> None:
    assert str(error) == message


def test_errors_carry_what_a_program_needs() -> None:
    too_long = errors.TextTooLong(9, 8, param="query")
    assert (too_long.tokens, too_long.limit, too_long.param, too_long.index) == (9, 8, "query", None)
    assert str(too_long).startswith("query has")
    assert errors.Overloaded(1, 9.0, 2.5).retry_after == 2.5
    assert errors.NonFiniteVector(4, "float16").index == 4
    assert errors.InvalidInput("x", param="input", index=2).index == 2
    assert "--max-prefill-tokens" in str(errors.OutOfMemory(512, "cuda:0"))
