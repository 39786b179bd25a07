"""The answer without data: the published scores of the three sizes on a kind of task. It is a prior, and says so.

The unit is the data set, because the user's data is another data set; tasks that share one are averaged first. Gains
are paired, larger minus smaller on the same data set. Intervals are BCa bootstraps over data sets (Efron 1987;
`scipy.stats.bootstrap`). A narrow question has few data sets, so wider questions are answered beside it, and the lead
rests on the narrowest question with at least ENOUGH.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import stats

from upsize.catalog.published import RERANKED, SIZES, Reranked, TaskScores, about, task_scores
from upsize.errors import InvalidInput
from upsize.number_format import short

DELTA = 0.01
"""Margin of the metric: a gain up to this does not pay; chosen, the same as the default of `choose`."""
ENOUGH = 10
"""Fewest data sets for an interval, and so for the lead; chosen: bootstrap intervals of fewer are too narrow."""
RESAMPLES = 4000
EVERY_LANGUAGE = "*"
RANKING = ("retrieval", "code search", "reranking", "instruction reranking")
"""Kinds of task that a reranker can serve instead of a larger embedder."""
_TABLE_OF_LANGUAGE = {"en": "English", "zh": "Chinese"}
_TABLE_OF_KIND = {"code search": "code", "instruction reranking": "instruction following"}


@dataclass(frozen=True)
class Step:
    """The gain of the next larger size over data sets, on the metric's own scale of 0 to 1."""

    smaller: str
    larger: str
    gain: float
    """Mean over data sets."""
    lower: float | None
    upper: float | None
    """95 % interval of the mean; None: fewer than ENOUGH data sets."""
    quartiles: tuple[float, float, float]
    """Quartiles of the data sets' gains: a new data set falls between the outer two about half of the time."""
    not_better: int
    """Data sets on which the larger size gained nothing or lost."""
    does_not_pay: int
    """Data sets on which it gained DELTA at most."""


@dataclass(frozen=True)
class Evidence:
    """All published tasks that match one question."""

    question: str
    """Such as `clustering, zh, news`; `all tasks`."""
    tasks: tuple[TaskScores, ...]
    data_sets: int
    means: tuple[float, float, float]
    """Over data sets, in the order of SIZES."""
    steps: tuple[Step, Step]


@dataclass(frozen=True)
class Prior:
    """The published evidence on a question, from the narrowest to the widest."""

    task: str | None
    language: str | None
    domain: str | None
    delta: float
    lead: str
    """One sentence: the size that the scores support, and how surely."""
    leaning: str
    """`0.6B`, `4B` or `8B`: the smallest size above which no gain is shown to exceed delta."""
    rests_on: int
    """Index in `evidence` of the question that the lead rests on."""
    evidence: tuple[Evidence, ...]
    reranking: tuple[Reranked, ...]
    """Where a reranker is an alternative: the table nearest to the question, then the others."""
    reranker_lead: str | None
    """One sentence on Embedding-4B alone against Embedding-0.6B with a reranker."""
    caveat: str

    def to_json(self) -> dict[str, Any]:
        """A dictionary for JSON."""
        return asdict(self)


def published_prior(
    task: str | None, language: str | None = None, domain: str | None = None, *, delta: float = DELTA
) -> Prior:
    """The published evidence on `task` in `language` (ISO 639, such as `zh` or `zh-CN`) on texts of `domain`.

    None stands for any.

    Raises InvalidInput for a task, language or domain that no published task has; the message lists those that exist.
    """
    rows = task_scores()
    task = _known("task", task, {r.kind for r in rows})
    language = _known("language", language and language.replace("_", "-").split("-")[0], {r.language for r in rows})
    domain = _known("domain", domain, {d for r in rows for d in r.domains})
    evidence = [e for q in _questions(task, language, domain) if (e := _evidence(rows, *q, delta)) is not None]
    rests_on = next(i for i, e in enumerate(evidence) if e.data_sets >= ENOUGH)
    lead, leaning = _lead(evidence[rests_on], delta)
    reranking = _reranking(task, language) if task is None or task in RANKING else ()
    return Prior(
        task,
        language,
        domain,
        delta,
        lead,
        leaning,
        rests_on,
        tuple(evidence),
        reranking,
        _reranker_lead(reranking),
        "A prior, not a measurement: published scores of other people's texts, on some of whose training sets the "
        "models were trained (MS MARCO, NQ, HotpotQA, FEVER, MIRACL, DuReader, T2, CodeSearchNet and others). "
        "Your own texts decide: upsize choose --data PATH.",
    )


def _known(name: str, value: str | None, there: set[str]) -> str | None:
    if value is None:
        return None
    normalised = value.strip().lower()
    if name != "domain":
        normalised = normalised.replace("-", " ").replace("_", " ")
    names = sorted(there - {EVERY_LANGUAGE})
    if normalised not in names:
        raise InvalidInput(f"--{name} {value!r}: no published task has it. There are: {', '.join(names)}.", param=name)
    return normalised


def _questions(
    task: str | None, language: str | None, domain: str | None
) -> list[tuple[str | None, str | None, str | None]]:
    """Questions from the narrowest to the widest; the domain is dropped before the language."""
    wider = [
        (task, language, domain),
        (task, language, None),
        (task, None, domain),
        (task, None, None),
        (None, language, None),
        (None, None, None),
    ]
    return list(dict.fromkeys(wider))


def _evidence(
    rows: Sequence[TaskScores], task: str | None, language: str | None, domain: str | None, delta: float
) -> Evidence | None:
    found = tuple(
        r
        for r in rows
        if r.language == (language or EVERY_LANGUAGE)
        and (task is None or r.kind == task)
        and (domain is None or domain in r.domains)
    )
    if not found:
        return None
    sets: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    for row in found:
        sets[row.data_set].append(row.scores)
    means = np.array([np.mean(scores, axis=0) for scores in sets.values()])
    question = ", ".join(part for part in (task, language, domain) if part) or "all tasks"
    over = means.mean(axis=0)
    return Evidence(
        question,
        found,
        len(means),
        (float(over[0]), float(over[1]), float(over[2])),
        (_step(means, 0, delta), _step(means, 1, delta)),
    )


def _step(means: np.ndarray[Any, np.dtype[np.float64]], smaller: int, delta: float) -> Step:
    """The step from size index `smaller` to the next; `means` is (data sets, sizes)."""
    gains = means[:, smaller + 1] - means[:, smaller]
    lower = upper = None
    if len(gains) >= ENOUGH and np.ptp(gains) > 0:
        found = stats.bootstrap((gains,), np.mean, n_resamples=RESAMPLES, rng=np.random.default_rng(0))
        lower, upper = float(found.confidence_interval.low), float(found.confidence_interval.high)
    first, median, third = (float(q) for q in np.quantile(gains, (0.25, 0.5, 0.75)))
    return Step(
        SIZES[smaller],
        SIZES[smaller + 1],
        float(gains.mean()),
        lower,
        upper,
        (first, median, third),
        int((gains <= 0).sum()),
        int((gains <= delta).sum()),
    )


def pays(step: Step, delta: float) -> bool | None:
    """True where the mean gain is shown to exceed delta, False where it is shown not to, None where neither is."""
    if step.lower is None or step.upper is None:
        return None
    return True if step.lower > delta else False if step.upper <= delta else None


def _lead(evidence: Evidence, delta: float) -> tuple[str, str]:
    leaning, clauses = SIZES[0], []
    for step in evidence.steps:
        verdict = pays(step, delta)
        shown = {
            True: f"shown to exceed {short(100 * delta)}",
            False: f"shown not to exceed {short(100 * delta)}",
            None: f"not shown to exceed {short(100 * delta)}",
        }[verdict]
        clauses.append(
            f"{step.larger} over {step.smaller} {points(step)}, {shown}; it does not pay on {step.does_not_pay} "
            f"of {evidence.data_sets} data sets"
        )
        if verdict and leaning == step.smaller:
            leaning = step.larger
    return f"Published scores lean to {leaning} ({evidence.question}). In points of 100: {'. '.join(clauses)}.", leaning


def points(step: Step) -> str:
    """The gain in points of 100, with its interval where there is one."""
    if step.lower is None or step.upper is None:
        return f"{100 * step.gain:+.1f}"
    return f"{100 * step.gain:+.1f} [{100 * step.lower:+.1f}, {100 * step.upper:+.1f}]"


def _reranking(task: str | None, language: str | None) -> tuple[Reranked, ...]:
    """All tables, the one that matches the question first."""
    nearest = _TABLE_OF_KIND.get(task or "") or _TABLE_OF_LANGUAGE.get(language or "", "multilingual")
    return tuple(sorted(RERANKED, key=lambda table: table.what != nearest))


def _reranker_lead(tables: Sequence[Reranked]) -> str | None:
    if not tables:
        return None

    def where(holds: Callable[[Reranked, float], bool]) -> str:
        return ", ".join(t.name for t in tables if t.alone[1] is not None and holds(t, t.alone[1])) or "none"

    lowered = ", ".join(t.name for t in tables if t.reranked[0] < t.alone[0])
    return (
        f"Embedding-4B alone beats Embedding-0.6B + Reranker-0.6B on {where(lambda t, x: x > t.reranked[0])}; "
        f"Embedding-0.6B + Reranker-4B beats Embedding-4B alone on {where(lambda t, x: t.reranked[1] > x)}. "
        f"Reranker-0.6B lowers what Embedding-0.6B found on {lowered}."
    )


def source() -> str:
    """The source of the scores, in one sentence."""
    origin = about()
    return (
        f"{origin.tasks} tasks of {origin.data_sets} data sets that all three sizes ran; {origin.source} at "
        f"{origin.commit[:12]}, {origin.licence}; {origin.screened} broken runs left out ({origin.screen})."
    )
