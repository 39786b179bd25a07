"""Whether int8 holds for a checkpoint: its states of built-in texts against those of the same network in bfloat16.

All texts share a large common component, which flatters a plain cosine; the centred one, of each state less its set's
mean, does not. It is computed once for a packed form, and kept beside it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Generator
from itertools import accumulate
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from upsize.compute import native
from upsize.model import Checkpoint

log = logging.getLogger(__name__)

LEAST = 0.97
"""Centred cosine of the worst text. Random weights of the 0.6B shape keep 0.995, those with loud channels 0.99."""
TEXTS = (
    "What is the capital of China?",
    "Gravity attracts two bodies to each other, and keeps the planets around the sun.",
    "Wie lange dauert die Fahrt von Zürich nach Genf?",
    "La photosynthèse transforme la lumière en énergie chimique.",
    "Столица России — Москва, и она стоит на реке с тем же именем.",
    "重力是使两个物体相互吸引的力，它使行星围绕太阳运动。",
    "東京の天気は今日晴れています。",
    "ما هي عاصمة مصر؟",
    "भारत की राजधानी नई दिल्ली है।",
    "def add(a: int, b: int) -> int:\n    return a + b\n",
    "SELECT name, COUNT(*) FROM orders GROUP BY name HAVING COUNT(*) > 3;",
    "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:how do bees find home",
    "The invoice of 14 March (no. 20-1187) was paid twice; please send 1,249.50 back to the account below.",
    "A recipe for soup: onions, carrots, salt, and an hour of patience.",
    "ok",
    "The glacier carried stones of every size, left them in ridges along its sides, and the wood in them tells when.",
)

T = TypeVar("T")
Floats = NDArray[np.float32]


def agreement(checkpoint: Checkpoint, int8: native.NativeQwen3, threads: int) -> float:
    """Centred cosine of the worst text, from the file beside the packed form or measured now."""
    path = native.packed_file(checkpoint.weights.digest, "int8").with_suffix(".agreement.json")
    try:
        return _stored(path)
    except (OSError, ValueError, KeyError, TypeError):
        found = _measure(checkpoint, int8, threads)
    stored = {"centred_cosine": found, "texts": len(TEXTS), "quantization": native.QUANTIZATION}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(stored) + "\n", encoding="utf-8")
    except OSError as error:
        log.warning("%s cannot be written, so int8 is checked again next time: %s", path, error)
    return found


def _stored(path: Path) -> float:
    stored = json.loads(path.read_text(encoding="utf-8"))
    if stored["quantization"] != native.QUANTIZATION:
        raise ValueError("of another version")
    return float(stored["centred_cosine"])


def _measure(checkpoint: Checkpoint, int8: native.NativeQwen3, threads: int) -> float:
    sequences = [checkpoint.tokenizer.encode(text)[-512:] for text in TEXTS]
    ids, cu = np.concatenate(sequences), [0, *accumulate(map(len, sequences))]
    ours = _finished(int8.forward(ids, cu))
    config, load = checkpoint.config, checkpoint.weights.load
    layers, vectors = native.OneLayer(config, load, "bfloat16"), load("embed_tokens.weight")
    bfloat16 = native.NativeQwen3(config, layers, vectors, "bfloat16", threads, remembered=0)
    return centred_cosine(ours, _finished(bfloat16.forward(ids, cu)))


def centred_cosine(ours: Floats, theirs: Floats) -> float:
    """Of two sets of states (n, hidden) of the same texts, the worst text's; NaN where a state is not finite."""

    def centred(states: Floats) -> NDArray[np.float64]:
        unit = states / np.linalg.norm(states.astype(np.float64), axis=1, keepdims=True)
        rest = unit - unit.mean(0)
        return np.asarray(rest / np.linalg.norm(rest, axis=1, keepdims=True))

    return float((centred(ours) * centred(theirs)).sum(1).min())


def _finished(steps: Generator[object, None, T]) -> T:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            value: T = end.value
            return value
