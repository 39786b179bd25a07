"""Compares a checkpoint of a published shape with the outputs that the vendor published."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from upsize.catalog import references
from upsize.catalog.instructions import RERANK_PREFIX, RERANK_SUFFIX, WEB_SEARCH
from upsize.compute import LoadedModel
from upsize.diagnostics.check import Check, Figure, check_figures
from upsize.diagnostics.forward import values
from upsize.diagnostics.invariants import count_different
from upsize.engine import EmbedRequest, RerankRequest
from upsize.engine.request_encoding import encode
from upsize.model.pooling import Vectors

NAME, TOKENS = "published values", "published token ids"
DIFFERS = (
    "the weights are not those of {name}: they are fine-tuned, converted with loss, or random. "
    "If they should be the published ones, download them again. --published makes this a failure."
)


def published(model: LoadedModel, name: str | None, *, strict: bool = False) -> list[Check]:
    """Compare values and token ids with those of the published checkpoint `name`. None: no published one has this
    shape.

    Other values fail only if `strict`. Other token ids always fail, because fine-tuning does not change a tokenizer.
    """
    if name is None:
        reason = "no published checkpoint has this shape"
        return [Check(c, "failed" if strict else "skipped", note=reason) for c in (NAME, TOKENS)]
    if model.checkpoint.kind == "embedding":
        return [cosine_check(_cosines(model), name, model.plan.precision, strict), tokens(model)]
    if name not in references.LOG_ODDS:
        return [Check(NAME, "skipped", note=f"no output of {name} was published"), tokens(model)]
    return [log_odds_check(_log_odds(model), name, strict), tokens(model)]


def cosine_check(found: Vectors, name: str, precision: str, strict: bool) -> Check:
    """Compare cosines (queries, documents) with those published for `name`."""
    expected = np.asarray(references.COSINES[name])
    return _compare(found, expected, references.COSINE_TOLERANCE[precision], name, strict)


def log_odds_check(found: Vectors, name: str, strict: bool) -> Check:
    """Compare log-odds (documents,) with those published for `name`."""
    return _compare(found, np.asarray(references.LOG_ODDS[name]), references.LOG_ODDS_TOLERANCE, name, strict)


def tokens(model: LoadedModel) -> Check:
    """Compare the ids of the published texts, including end token and rerank template."""
    tokenizer = model.checkpoint.tokenizer
    if model.checkpoint.kind == "embedding":
        given = [e.ids for e in encode(model, EmbedRequest(list(references.TOKEN_IDS)))]
        given += [e.ids for e in encode(model, EmbedRequest(references.QUERIES[:1], instruction=WEB_SEARCH))]
        expected: list[Sequence[int]] = [*references.TOKEN_IDS.values(), references.QUERY_IDS]
    else:
        given = [tokenizer.encode(t) for t in (*references.TOKEN_IDS, RERANK_PREFIX, RERANK_SUFFIX)]
        expected = [ids[:-1] for ids in references.TOKEN_IDS.values()]
        expected += [references.RERANK_PREFIX_IDS, references.RERANK_SUFFIX_IDS]
    wrong = count_different(given, expected)
    note = "not the tokenizer of the family: download tokenizer.json again" if wrong else f"{len(expected)} texts"
    return check_figures(TOKENS, [Figure("texts with other ids", wrong, 0)], note)


def _compare(found: Vectors, expected: Vectors, tolerance: float, name: str, strict: bool) -> Check:
    figure = Figure("max |difference|", float(np.abs(found - expected).max()), tolerance)
    both = f"found {_shown(found)}, published {_shown(expected)}"
    note = both if figure.holds else f"{both}; {DIFFERS.format(name=name)}"
    return check_figures(NAME, [figure], note, otherwise="failed" if strict else "differs")


def _shown(values: Vectors) -> str:
    return np.array2string(np.asarray(values), precision=4, floatmode="fixed", separator=", ").replace("\n", "")


def _cosines(model: LoadedModel) -> Vectors:
    queries = encode(model, EmbedRequest(references.QUERIES, instruction=WEB_SEARCH))
    documents = encode(model, EmbedRequest(references.DOCUMENTS))
    vectors = values(model, [e.ids for e in (*queries, *documents)])
    cosines: Vectors = vectors[: len(queries)] @ vectors[len(queries) :].T
    return cosines


def _log_odds(model: LoadedModel) -> Vectors:
    request = RerankRequest(references.QUERIES[0], references.DOCUMENTS, instruction=WEB_SEARCH)
    return values(model, [e.ids for e in encode(model, request)])
