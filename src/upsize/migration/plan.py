"""Plan: estimate hours, bytes, cost and memory of a move, and what does not fit. Changes nothing."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import numpy as np

from upsize.compute import plan as compute_plan
from upsize.compute import this_machine
from upsize.compute.contention import BUSY, Contention
from upsize.engine import Priority
from upsize.errors import InvalidInput, UpsizeError
from upsize.fingerprint import Fingerprint
from upsize.index.bisection import each
from upsize.index.creation import VectorSpec, check_coarse
from upsize.index.documents import Document
from upsize.index.index import Index
from upsize.model import check_dimension, locate, open_checkpoint

SAMPLE = 512
"""Documents whose tokens are counted and which are embedded for SECONDS (chosen)."""
SECONDS = 3.0
"""Seconds for which the rate is measured (chosen)."""
SHARE = 32
"""Documents of one request while the rate is measured."""
SHOWN = 10
"""Documents that cannot be embedded, named in a plan's reply at most."""
CHARACTERS = 64
"""Characters of a text that are tokenised for each token of the model's longest input."""
OVERHEAD = 1.15
"""Bytes on disk for each byte of a vector, ids and metadata included."""
COMPACTING = 2
"""Factor by which a table may grow while it is compacted."""


@dataclass(frozen=True)
class MovePlan:
    """Estimate of a move to a model."""

    wanted: VectorSpec
    """The vectors of the new generation, at their final dimension."""
    fingerprint: Fingerprint | None
    """None where the model was not loaded."""
    documents: int
    tokens: int
    """Tokens of all documents, estimated from a sample's mean."""
    tokens_per_second: float | None
    """Measured now, beside the present load of this machine."""
    hours: float | None
    vector_bytes: int
    disk_free: int | None
    memory_bytes: int
    """Bytes of weights, and of activations at the longest text."""
    memory_free: int
    money: float | None
    problems: tuple[str, ...]
    """What does not fit, each with advice."""
    notes: tuple[str, ...]
    refused: tuple[dict[str, str], ...] = ()
    """The first documents of the sample that the model cannot embed: id and reason."""
    refused_in_sample: int = 0
    sample: int = 0
    """Size of the sample."""

    def to_json(self) -> dict[str, Any]:
        """The plan as plain values, for a reply."""
        value = asdict(self) | {"fingerprint": self.fingerprint.id if self.fingerprint else None}
        return {**value.pop("wanted"), **value}


def plan_move(
    index: Index,
    wanted: VectorSpec,
    *,
    price: float | None = None,
    seconds: float = SECONDS,
) -> MovePlan:
    """Estimate a move, load the model if it fits, and measure its rate on some of the index's texts.

    The model stays loaded, for the start of the move; `index.release_models` releases it. `price` is the cost of one
    hour of this machine. Raises CheckpointError and HubError for a model that is not found, InvalidInput for a
    dimension that it does not have.
    """
    to, dtype, max_length = index.models.path(wanted.model), wanted.dtype, wanted.max_length
    checkpoint = open_checkpoint(locate(to), "embedding")
    machine = this_machine()
    problems: list[str] = []
    notes: list[str] = []
    size = check_dimension(wanted.dimension, checkpoint.config.hidden_size)
    own = index.state.serving.coarse
    coarse = own if wanted.coarse is None and own and own < size else wanted.coarse
    check_coarse(coarse, size)
    largest = index.store.largest_dimension
    if largest is not None and size > largest:
        problems.append(
            f"{to} gives {size:,} dimensions and {index.store.kind} indexes {largest:,} at most: plan it with "
            f"--dim {largest}, which keeps nearly all of its quality."
        )
    sample = index.documents.sample(SAMPLE)
    total = index.documents.count()
    longest = max_length or checkpoint.context
    # A text beyond so many characters is too long in any case, so its remaining tokens need no count.
    encoded = [checkpoint.tokenizer.encode(d.text[: CHARACTERS * longest]) for d in sample]
    lengths = [len(ids) + 1 for ids in encoded]
    tokens = int(np.mean(np.minimum(lengths, longest)) * total) if lengths else 0
    refused = {} if index.state.truncate else _too_long(sample, lengths, longest)
    memory = 0
    try:
        derived = compute_plan(checkpoint, machine, dtype=dtype, max_length=max_length)
    except InvalidInput:
        raise
    except UpsizeError as error:
        problems.append(str(error))
    else:
        memory = derived.weight_bytes + derived.work_bytes
        notes += derived.notes
    stored = int(total * OVERHEAD * 4 * (size + (coarse or 0)))
    free = shutil.disk_usage(index.folder).free if index.store.kind == "lancedb" else None
    if free is not None and COMPACTING * stored > free:
        problems.append(
            f"Its vectors take {stored:,} bytes, and {COMPACTING} times that while they are compacted; "
            f"{free:,} are free on the disk of {index.folder}. Free some space, or plan a smaller --dim."
        )
    fingerprint = rate = None
    if problems:
        notes.append("The model was not loaded and timed, since the move does not fit.")
    else:
        name = index.models.embedder(to, index.name, dtype, max_length)
        fingerprint = index.models.loaded(name).fingerprint.at(size)
        if sample:
            contention = Contention()
            rate, unfit = _rate(index, name, sample, seconds)
            if (busy := contention.share()) >= BUSY:
                notes.append(f"Other processes took {busy:.0%} of the processor meanwhile: the move may be faster.")
            refused |= unfit
    if refused:
        first, reason = next(iter(refused.items()))
        notes.append(
            f"{len(refused):,} of {len(sample):,} documents of the sample cannot be embedded by {to}, for example "
            f"{first!r}: {reason} The move leaves such texts out and lists them; a switch waits until they are "
            "repaired or deleted, or is forced."
        )
    hours = tokens / rate / 3600 if rate else None
    return MovePlan(
        wanted=VectorSpec(to, dtype, size, coarse, max_length),
        fingerprint=fingerprint,
        documents=total,
        tokens=tokens,
        tokens_per_second=rate,
        hours=hours,
        vector_bytes=stored,
        disk_free=free,
        memory_bytes=memory,
        memory_free=machine.available,
        money=None if price is None or hours is None else price * hours,
        problems=tuple(problems),
        notes=tuple(notes),
        refused=tuple({"id": id, "reason": reason} for id, reason in islice(refused.items(), SHOWN)),
        refused_in_sample=len(refused),
        sample=len(sample),
    )


def _too_long(sample: Sequence[Document], lengths: Sequence[int], longest: int) -> dict[str, str]:
    """Id → why the backfill will refuse the document."""
    return {
        d.id: f"it has {length:,} tokens or more, and at most {longest:,} are taken."
        for d, length in zip(sample, lengths, strict=True)
        if length > longest
    }


def _rate(index: Index, name: str, sample: Sequence[Document], seconds: float) -> tuple[float | None, dict[str, str]]:
    """Tokens per second in the bulk priority, after one warm-up request (None where no text can be embedded); and
    id → reason of the texts that the model cannot embed."""

    def count(part: Sequence[Document]) -> Sequence[int]:
        return (
            index.models.start(name, [d.text for d in part], 32, priority=Priority.BULK, truncate=True).result().tokens
        )

    refused: dict[str, str] = {}
    warm = timed = (0, 0.0)
    begun = time.monotonic()
    for first in range(0, len(sample), SHARE):
        share, started = sample[first : first + SHARE], time.monotonic()
        outcomes = each(count, share)
        spent, tokens = time.monotonic() - started, sum(t for t in outcomes if not isinstance(t, UpsizeError))
        bad = {d.id: str(t) for d, t in zip(share, outcomes, strict=True) if isinstance(t, UpsizeError)}
        refused |= bad
        if not warm[0]:
            warm = tokens, spent
        elif not bad:  # a bisection computes the other texts more than once
            timed = timed[0] + tokens, timed[1] + spent
        if time.monotonic() - begun > seconds and timed[0]:
            break
        if time.monotonic() - begun > 2 * seconds and warm[0]:
            break
    tokens, elapsed = timed if timed[0] else warm
    return (tokens / max(elapsed, 1e-6) if tokens else None), refused
