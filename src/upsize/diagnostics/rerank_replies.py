"""A service that reranks: questioned when it does not embed. Its scores must be numbers, and say what is evident."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

from upsize.diagnostics.embedding_replies import BadReplyError
from upsize.diagnostics.findings import Finding, ok, wrong

QUERY = "What is the capital of China?"
DOCUMENTS = (
    "A recipe for soup: onions, carrots, salt and patience.",
    "The capital of China is Beijing.",
    "def add(a, b):\n    return a + b",
)
BEST = 1


def scores_of(body: str, expected: int) -> list[float]:
    """Scores in the order of the documents, of a rerank reply in the shape of Jina, Cohere and vLLM, or SGLang's list.

    Raises BadReplyError where it is none of them, or holds what is no finite number.
    """
    try:
        value = json.loads(body)
        results = value["results"] if isinstance(value, dict) else value
        given = {int(r["index"]): r.get("relevance_score", r.get("score")) for r in results}
        scores = [math.nan if given[i] is None else float(given[i]) for i in range(expected)]
    except (ValueError, KeyError, TypeError, AttributeError):
        finding = wrong("bad_reply", f"The reply is no ranking of {expected} documents: {' '.join(body.split())[:120]}")
        raise BadReplyError(finding) from None
    if not all(map(math.isfinite, scores)):
        advice = "Serve the model in bfloat16 or float32."
        raise BadReplyError(wrong("not_finite", "Some scores are NaN, infinite or null.", advice))
    return scores


def judge_scores(repeats: Sequence[Sequence[float]]) -> list[Finding]:
    """Scores of DOCUMENTS for QUERY, several times over."""
    first = repeats[0]
    findings = []
    spread = max(abs(a - b) for other in repeats[1:] for a, b in zip(first, other, strict=True))
    if spread > 0.01:
        findings.append(
            wrong(
                "not_deterministic",
                f"The same pair gets scores {spread:.3f} apart.",
                "Replicas with different models or settings behind one address?",
            )
        )
    shown = ", ".join(f"{score:.3f}" for score in first)
    if max(range(len(first)), key=first.__getitem__) != BEST:
        findings.append(
            wrong(
                "wrong_ranking",
                f"The document that answers the query is not ranked first (scores {shown}).",
                "The usual cause: the server does not put the model's template around the pair, and scores are random.",
            )
        )
    return findings or [ok("ranking", "The document that answers is ranked first, with the same scores each time.")]
