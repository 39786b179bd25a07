"""Checks of rerank replies: scores must be finite, repeatable, and rank an obvious answer first. Pure functions."""

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


def parse_scores(body: str, expected: int) -> list[float]:
    """Scores in the order of the documents, from a rerank reply in the format of Jina, Cohere and vLLM, or of SGLang.

    Raises BadReplyError for any other format, and for scores that are not finite.
    """
    try:
        value = json.loads(body)
        results = value["results"] if isinstance(value, dict) else value
        given = {int(r["index"]): r.get("relevance_score", r.get("score")) for r in results}
        scores = [math.nan if given[i] is None else float(given[i]) for i in range(expected)]
    except (ValueError, KeyError, TypeError, AttributeError):
        finding = wrong(
            "bad_reply", f"The reply is not a ranking of {expected} documents: {' '.join(body.split())[:120]}"
        )
        raise BadReplyError(finding) from None
    if not all(map(math.isfinite, scores)):
        advice = "Serve the model in bfloat16 or float32."
        raise BadReplyError(wrong("not_finite", "Some scores are NaN, infinite or null.", advice))
    return scores


def check_scores(repeats: Sequence[Sequence[float]]) -> list[Finding]:
    """Check the scores of DOCUMENTS for QUERY from several requests."""
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
