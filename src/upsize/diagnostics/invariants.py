"""What must hold of any checkpoint, published or not: finite values, no batch mates, dimensions, end token, prompts."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence

import numpy as np

from upsize.catalog import SMALLEST_DIMENSION
from upsize.catalog.instructions import RERANK_BODY, RERANK_PREFIX, RERANK_SUFFIX
from upsize.compute import LoadedModel
from upsize.diagnostics import sample_texts as texts
from upsize.diagnostics.check import Check, Figure, check_figures, greatest_difference, invariance_figures
from upsize.diagnostics.forward import finished, ids_of, raw, values
from upsize.engine import EmbedRequest, Engine
from upsize.engine.request_encoding import encode
from upsize.model import Checkpoint, EmbeddingPrompts
from upsize.model.config import read_json
from upsize.model.pooling import Vectors
from upsize.model.tokenizer import END_OF_TEXT, Ids

QUERY_PROMPT_SHA256 = "9fab7feb99edb69f560d85cf1bb849dd556c37f383d0336574f78f1303e90740"
"""Of the 91 bytes before a query, as published."""
RERANK_TEMPLATE_SHA256 = "677211781ca7518131714a974e241c5864ce08911350882db7ba6c565ac38213"
"""Of the rerank template's three parts, a zero byte between them."""

PROBES = (
    "What is the capital of China?",
    "重力是什么？",
    "ok",
    f"a text that already ends in {END_OF_TEXT}",
    f"{END_OF_TEXT} in front",
)
UNIT_LENGTH = 1e-6
CUT = 1e-6
SEED = 20250605


def finite(model: LoadedModel) -> Check:
    """Texts known to break half precision give numbers; the worst are named."""
    broken = []
    for name, text in texts.BREAKERS.items():
        if not np.isfinite(raw(model, ids_of(model, [text]))).all():
            broken.append(name)
    note = f"NaN or infinite on: {', '.join(broken)}" if broken else f"{len(texts.BREAKERS)} sorts of text"
    return check_figures("finite values", [Figure("texts with NaN or infinity", len(broken), 0)], note)


def batch_invariance(model: LoadedModel, batches: int) -> Check:
    """A text's value does not depend on what it is computed with: alone, against `batches` random batches."""
    sequences = ids_of(model, texts.batch_texts(model.checkpoint.tokenizer))
    alone = np.concatenate([values(model, [ids]) for ids in sequences])
    draw = random.Random(SEED)
    members: list[int] = []
    together: list[Vectors] = []
    for _ in range(batches):
        chosen = draw.sample(range(len(sequences)), draw.randint(2, min(8, len(sequences))))
        together.append(finished(raw(model, [sequences[i] for i in chosen]), model.plan.precision))
        members += chosen
    precision = model.plan.precision
    figures = invariance_figures(alone[members], np.concatenate(together), precision)
    return check_figures("batch invariance", figures, f"{batches} random batches, {len(members)} texts in them")


def dimensions(model: LoadedModel) -> Check:
    """Vectors of every dimension, as the engine gives them, are the full ones cut and made unit length again."""
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
    """Dimension → vectors (n, dimension) of the same texts, the greatest dimension among them as the reference."""
    full = given[max(given)].astype(np.float64)
    away, off, wrong = 0.0, 0.0, 0
    for dimension, vectors in given.items():
        if vectors.shape != (len(full), dimension):
            wrong += 1
            continue
        away = max(away, float(np.abs(np.linalg.norm(vectors.astype(np.float64), axis=1) - 1).max()))
        cut = full[:, :dimension] / np.linalg.norm(full[:, :dimension], axis=1, keepdims=True)
        off = max(off, greatest_difference(vectors, cut.astype(np.float32)))
    return (
        Figure("wrong shapes", wrong, 0),
        Figure("|length − 1|", away, UNIT_LENGTH),
        Figure("against cut and normalised", off, CUT),
    )


def end_token(model: LoadedModel) -> Check:
    """Exactly one end token after a text, after ids without one, and after ids with one; and the file has the rule."""
    tokenizer = model.checkpoint.tokenizer
    bare = [tokenizer.encode(text) for text in PROBES]
    # A probe's own end token at its end is the one that is there already.
    expected = [[*(ids[:-1] if ids[-1] == tokenizer.end_id else ids).tolist(), tokenizer.end_id] for ids in bare]
    lists = [ids.tolist() for ids in bare]
    wrong = 0
    for inputs in (PROBES, lists, [[*ids[:-1], tokenizer.end_id] for ids in expected]):
        wrong += differing([e.ids for e in encode(model, EmbedRequest(inputs))], expected)
    note = "text, ids, ids that have one already"
    if not tokenizer.appends_end:
        note = (
            f"tokenizer.json has no rule that appends {END_OF_TEXT}, as an early published revision had not: "
            "upsize appends it all the same, but other servers give other vectors (cosine 0.77 to 0.88) for these "
            "files. Download the current tokenizer.json."
        )
    rule = Figure("tokenizer.json without the rule", int(not tokenizer.appends_end), 0)
    return check_figures("end token", [Figure("wrong sequences", wrong, 0), rule], note)


def differing(given: Sequence[Ids], expected: Sequence[Sequence[int]]) -> int:
    """How many sequences of ids are not the expected ones."""
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
    """Whether the checkpoint's files say the prompts in use."""
    path = checkpoint.folder / "config_sentence_transformers.json"
    if not path.exists() or not isinstance(checkpoint.prompts, EmbeddingPrompts):
        return False
    own = read_json(path, "prompts").get("prompts") or {}
    documents = (own.get("document", own.get("passage")), "")
    return own.get("query") == checkpoint.prompts.query and checkpoint.prompts.document in documents
