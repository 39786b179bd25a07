"""The answer with no data: what it rests on, how it is said, and what it refuses."""

from __future__ import annotations

import io

import numpy as np
import pytest
from rich.console import Console

from upsize.catalog.published import TaskScores, task_scores
from upsize.errors import InvalidInput
from upsize.selection.prior import evidence as module
from upsize.selection.prior.evidence import ENOUGH, Step, pays, published_prior
from upsize.selection.prior.terminal import print_prior


def step(lower: float | None, upper: float | None) -> Step:
    return Step("0.6B", "4B", 0.02, lower, upper, (0.0, 0.0, 0.0), 0, 0)


def test_narrow_evidence_first_and_the_lead_rests_on_enough() -> None:
    found = published_prior("clustering", "zh", "news")
    assert [e.question for e in found.evidence][:2] == ["clustering, zh, news", "clustering, zh"]
    assert found.evidence[0].data_sets == 2
    assert {t.task for t in found.evidence[0].tasks} >= {"ThuNewsClusteringS2S", "ThuNewsClusteringP2P"}
    assert all(e.data_sets < ENOUGH for e in found.evidence[: found.rests_on])
    assert found.evidence[found.rests_on].data_sets >= ENOUGH
    assert found.evidence[found.rests_on].question in found.lead
    assert found.reranking == ()
    assert "not a measurement" in found.caveat


def test_gains_are_paired_over_data_sets() -> None:
    evidence = published_prior("sts").evidence[0]
    rows = [r for r in task_scores() if r.kind == "sts" and r.language == "*"]
    sets = {
        name: np.mean([r.scores for r in rows if r.data_set == name], axis=0) for name in {r.data_set for r in rows}
    }
    gains = np.array([s[1] - s[0] for s in sets.values()])
    first = evidence.steps[0]
    assert first.gain == pytest.approx(gains.mean())
    assert first.does_not_pay == (gains <= 0.01).sum()
    assert first.not_better == (gains <= 0).sum()
    assert first.lower is not None
    assert first.upper is not None
    assert first.lower < first.gain < first.upper
    error = gains.std(ddof=1) / len(gains) ** 0.5
    assert first.upper - first.lower == pytest.approx(2 * 1.96 * error, rel=0.35)


def test_the_same_question_gives_the_same_answer() -> None:
    assert published_prior("retrieval", "en") == published_prior("retrieval", "en-US")


@pytest.mark.parametrize(
    ("bounds", "verdict"),
    [((0.02, 0.05), True), ((0.0, 0.05), None), ((-0.01, 0.01), False), ((0.01, 0.05), None), ((None, None), None)],
)
def test_what_pays(bounds: tuple[float | None, float | None], verdict: bool | None) -> None:
    assert pays(step(*bounds), 0.01) is verdict


@pytest.mark.parametrize(
    ("gains", "leaning"),
    [((0.05, 0.05), "8B"), ((0.05, 0.0), "4B"), ((0.0, 0.05), "0.6B"), ((0.0, 0.0), "0.6B")],
)
def test_the_lead_climbs_only_where_the_gain_clears_delta(
    monkeypatch: pytest.MonkeyPatch, gains: tuple[float, float], leaning: str
) -> None:
    rng = np.random.default_rng(1)
    rows = []
    for i in range(40):
        a, b = rng.normal(gains, 0.005)
        rows.append(TaskScores(f"T{i}", f"D{i}", "sts", "*", (), 1, (0.5, 0.5 + a, 0.5 + a + b)))
    monkeypatch.setattr(module, "task_scores", lambda: tuple(rows))
    assert published_prior("sts").leaning == leaning


def test_the_reranker_alternative() -> None:
    found = published_prior("retrieval", "zh")
    assert found.reranking[0].what == "Chinese"
    assert found.reranker_lead is not None
    first, *_ = found.reranker_lead.split(";")
    assert first.startswith("Embedding-4B alone beats Embedding-0.6B + Reranker-0.6B on CMTEB-R, MTEB-R, MMTEB-R")
    assert "lowers what Embedding-0.6B found on MTEB-Code" in found.reranker_lead
    assert published_prior("code-search").reranking[0].what == "code"


@pytest.mark.parametrize(
    ("question", "named"),
    [(("clustring",), "clustering"), (("sts", "xx"), "zh"), (("sts", "zh", "finance"), "financial")],
)
def test_an_unknown_word_names_what_there_is(question: tuple[str, ...], named: str) -> None:
    with pytest.raises(InvalidInput, match=named):
        published_prior(*question)


def test_a_question_that_nothing_fits_is_answered_by_wider_ones() -> None:
    found = published_prior("bitext", "zh", "legal")
    assert found.evidence[0].question != "bitext, zh, legal"
    assert found.evidence[-1].question == "all tasks"


def test_what_is_printed() -> None:
    page = io.StringIO()
    print_prior(published_prior("retrieval", "zh"), Console(file=page, width=170))
    for said in ("prior, not a measurement", "CMTEB-R", "does not pay", "CC0 1.0", "not published", "broken runs"):
        assert said in " ".join(page.getvalue().split())
