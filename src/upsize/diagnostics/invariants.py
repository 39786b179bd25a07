"""Invariants of any checkpoint: finite values, batch invariance, dimensions, end token, template, prompts."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence

import numpy as np

from upsize.catalog import SMALLEST_DIMENSION
from upsize.catalog.instructions import RERANK_BODY, RERANK_PREFIX, RERANK_SUFFIX
from upsize.compute import LoadedModel
from upsize.diagnostics import sample_texts as texts
from upsize.diagnostics.check import Check, Figure, check_figures, invariance_figures, max_abs_difference
from upsize.diagnostics.forward import ids_of, normalised_values, raw, values
from upsize.engine import EmbedRequest, Engine
from upsize.engine.request_encoding import encode
from upsize.model import Checkpoint, EmbeddingPrompts
from upsize.model.config import read_json
from upsize.model.pooling import Vectors
from upsize.model.tokenizer import END_OF_TEXT, Ids

QUERY_PROMPT_SHA256 = "9fab7feb99edb69f560d85cf1bb849dd556c37f383d0336574f78f1303e90740"
"""SHA-256 of the published query prompt, 91 bytes."""
RERANK_TEMPLATE_SHA256 = "677211781ca7518131714a974e241c5864ce08911350882db7ba6c565ac38213"
"""SHA-256 of the three parts of the published rerank template, joined by zero bytes."""

PROBES = (
    "What is the capital of China?",
    "重力是什么？",
    "ok",
    f"a text that already ends in {END_OF_TEXT}",
    f"{END_OF_TEXT} in front",
)
UNIT_LENGTH = 1e-6
"""Greatest |length − 1| of a vector in float32."""
CUT = 1e-6
"""Greatest difference of a vector of a lower dimension from the full vector, cut and normalised."""
SEED = 20250605
"""Of the random batches. Arbitrary."""


def finite(model: LoadedModel) -> Check:
    """Difficult texts give finite values. The note names those that do not."""
    broken = []
    for name, text in texts.DIFFICULT_TEXTS.items():
        if not np.isfinite(raw(model, ids_of(model, [text]))).all():
            broken.append(name)
    note = f"NaN or infinite on: {', '.join(broken)}" if broken else f"{len(texts.DIFFICULT_TEXTS)} difficult texts"
    return check_figures("finite values", [Figure("texts with NaN or infinity", len(broken), 0)], note)


def batch_invariance(model: LoadedModel, batches: int) -> Check:
    """The value of a text alone equals its values in `batches` random batches."""
    sequences = ids_of(model, texts.batch_texts(model.checkpoint.tokenizer))
    alone = np.concatenate([values(model, [ids]) for ids in sequences])
    draw = random.Random(SEED)
    members: list[int] = []
    together: list[Vectors] = []
    for _ in range(batches):
        chosen = draw.sample(range(len(sequences)), draw.randint(2, min(8, len(sequences))))
        together.append(normalised_values(raw(model, [sequences[i] for i in chosen]), model.plan.precision))
        members += chosen
    precision = model.plan.precision
    figures = invariance_figures(alone[members], np.concatenate(together), precision)
    return check_figures("batch invariance", figures, f"{batches} random batches, {len(members)} texts in them")


def dimensions(model: LoadedModel) -> Check:
    """The engine's vectors of every dimension equal the full vectors, cut and normalised."""
    hidden = model.checkpoint.config.hidden_size
    wanted = sorted({d for d in (32, 64, 128, 256, 512, 768, 1024, 2048, hidden // 2) if d < hidden} | {hidden})
    wanted = [d for d in wanted if d >= min(SMALLEST_DIMENSION, hidden)]
    engine = Engine({"model": model})
    try:
        given = {d: engine.submit("model", EmbedRequest(texts.SHORT[:4], dimensions=d)).result().values for d in wanted}
    finally:
        engine.close()
    return check_figures("dimensions", dimension_figures(given), ", ".join(map(str, wanted)))


def dimension_figures(given: Mapping[int, Vectors]) -> tuple[Figure, ...]:
    """Figures of `given`: dimension → vectors (n, dimension) of the same texts. The greatest dimension is the
    reference."""
    full = given[max(given)].astype(np.float64)
    away, off, wrong = 0.0, 0.0, 0
    for dimension, vectors in given.items():
        if vectors.shape != (len(full), dimension):
            wrong += 1
            continue
        away = max(away, float(np.abs(np.linalg.norm(vectors.astype(np.float64), axis=1) - 1).max()))
        cut = full[:, :dimension] / np.linalg.norm(full[:, :dimension], axis=1, keepdims=True)
        off = max(off, max_abs_difference(vectors, cut.astype(np.float32)))
    return (
        Figure("wrong shapes", wrong, 0),
        Figure("|length − 1|", away, UNIT_LENGTH),
        Figure("against cut and normalised", off, CUT),
    )


def end_token(model: LoadedModel) -> Check:
    """Texts, and ids with and without an end token, get exactly one end token; and tokenizer.json has the rule for
    it."""
    tokenizer = model.checkpoint.tokenizer
    bare = [tokenizer.encode(text) for text in PROBES]
    # A probe that ends with an end token gets no second one.
    expected = [[*(ids[:-1] if ids[-1] == tokenizer.end_id else ids).tolist(), tokenizer.end_id] for ids in bare]
    lists = [ids.tolist() for ids in bare]
    wrong = 0
    for inputs in (PROBES, lists, [[*ids[:-1], tokenizer.end_id] for ids in expected]):
        wrong += count_different([e.ids for e in encode(model, EmbedRequest(inputs))], expected)
    note = "texts, ids, ids with an end token"
    if not tokenizer.appends_end:
        note = (
            f"tokenizer.json has no rule that appends {END_OF_TEXT}, as an early published revision had not: "
            "upsize appends it all the same, but other servers give other vectors (cosine 0.77 to 0.88) for these "
            "files. Download the current tokenizer.json."
        )
    rule = Figure("tokenizer.json without the rule", int(not tokenizer.appends_end), 0)
    return check_figures("end token", [Figure("wrong sequences", wrong, 0), rule], note)


def count_different(given: Sequence[Ids], expected: Sequence[Sequence[int]]) -> int:
    """The number of sequences that differ from the expected ones."""
    return sum(list(map(int, a)) != list(map(int, b)) for a, b in zip(given, expected, strict=True))


def template(model: LoadedModel) -> Check:
    """A pair stands between the template's two ends, also where its document had to be cut; no end token is added."""
    tokenizer, limit = model.checkpoint.tokenizer, model.plan.max_length
    prefix, suffix = (tokenizer.encode(part).tolist() for part in (RERANK_PREFIX, RERANK_SUFFIX))
    too_long = texts.of_length("English", limit, tokenizer)
    wrong = 0
    for ids in ids_of(model, [*texts.SHORT[:4], too_long]):
        found = ids.tolist()
        inside = found[len(prefix) : -len(suffix)]
        whole = found[: len(prefix)] == prefix and found[-len(suffix) :] == suffix and len(found) <= limit
        wrong += not whole or not inside or tokenizer.end_id in inside
    return check_figures("template", [Figure("wrong sequences", wrong, 0)], "short documents, and one that is cut")


def prompts(checkpoint: Checkpoint) -> Check:
    """The bytes around a text are the published ones, unless the checkpoint brings its own."""
    if isinstance(checkpoint.prompts, EmbeddingPrompts):
        found = hashlib.sha256(checkpoint.prompts.query.encode()).hexdigest()
        right = found == QUERY_PROMPT_SHA256 and checkpoint.prompts.document == ""
        own = not right and _own_prompts(checkpoint)
        note = f"query {checkpoint.prompts.query!r}, document {checkpoint.prompts.document!r}"
        note = f"the checkpoint's own: {note}" if own else note
    else:
        whole = "\0".join((RERANK_PREFIX, RERANK_BODY, RERANK_SUFFIX))
        right, own = hashlib.sha256(whole.encode()).hexdigest() == RERANK_TEMPLATE_SHA256, False
        note = f"task {checkpoint.prompts.instruction!r}"
    return check_figures("prompts", [Figure("unknown prompts", int(not right and not own), 0)], note)


def _own_prompts(checkpoint: Checkpoint) -> bool:
    """Whether the prompts in use come from the checkpoint's own files."""
    path = checkpoint.folder / "config_sentence_transformers.json"
    if not path.exists() or not isinstance(checkpoint.prompts, EmbeddingPrompts):
        return False
    own = read_json(path, "prompts").get("prompts") or {}
    documents = (own.get("document", own.get("passage")), "")
    return own.get("query") == checkpoint.prompts.query and checkpoint.prompts.document in documents
