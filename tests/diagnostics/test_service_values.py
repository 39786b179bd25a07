"""Services that answer with the wrong values: vectors, spaces, scores."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from tests.diagnostics.misbehaving import NAMES, Service, message, of, vector, wrongs

pytestmark = pytest.mark.usefixtures("no_proxies")


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda v, n: [3 * x for x in v], "not_unit"),
        (lambda v, n: [0.0 for _ in v], "not_unit"),
        (lambda v, n: [float("nan"), *v[1:]], "not_finite"),
        (lambda v, n: [None, *v[1:]], "not_finite"),
        (lambda v, n: vector("always", len(v)), "all_alike"),
        (lambda v, n: vector(f"never the same {n}", len(v)), "not_deterministic"),
        (lambda v, n: "§", "bad_reply"),
    ],
)
def test_vectors_are_wrong(change: Any, kind: str) -> None:
    class Wrong(Service):
        def vectors(self, texts: list[str], dimension: int) -> list[list[Any]]:
            return [change(v, len(self.calls)) for v in super().vectors(texts, dimension)]

    assert kind in wrongs(of(Wrong()))


def test_a_text_depends_on_its_batch_mates() -> None:
    class Padding(Service):
        def vectors(self, texts: list[str], dimension: int) -> list[list[Any]]:
            mixed = np.asarray(super().vectors(texts, dimension)) + 0.2 * (len(texts) - 1)
            return [list(v) for v in mixed / np.linalg.norm(mixed, axis=1, keepdims=True)]

    assert wrongs(of(Padding())) == ["batch_dependent"]


def test_two_spaces_behind_one_address() -> None:
    assert wrongs(of(Service(fingerprints=("abc", "xyz")))) == ["several_spaces"]


def test_a_reranker_is_asked_to_rank() -> None:
    found = of(Service(), model=NAMES[1])
    assert found.ok, found.findings
    assert found.dimension is None
    assert found.latency_ms is not None


def test_a_reranker_without_its_template_is_found() -> None:
    class Random(Service):
        def scores(self, documents: list[str]) -> list[float]:
            return [0.9, 0.2, 0.5]

    found = of(Random(), model=NAMES[1])
    assert wrongs(found) == ["wrong_ranking"]
    assert "template" in message(found)


def test_a_reranker_that_changes_its_mind_is_found() -> None:
    drift = itertools.count()

    class Drifting(Service):
        def scores(self, documents: list[str]) -> list[float]:
            return [0.1, 0.5 + 0.05 * next(drift), 0.1]

    assert wrongs(of(Drifting(), model=NAMES[1])) == ["not_deterministic"]
