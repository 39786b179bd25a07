"""Whether int8 or fp8 holds for a checkpoint: its states of built-in texts against those of the network in bfloat16.

All texts share a large common component, which flatters a plain cosine; the centred one, of each state less its set's
mean, does not. It is computed once for a form, and kept beside the packed ones.
"""

from __future__ import annotations

import json
import logging
from itertools import accumulate
from pathlib import Path

import numpy as np

from upsize.compute import native
from upsize.compute.cosine import centred_cosines
from upsize.compute.network import Network, run_to_end
from upsize.errors import CheckpointError
from upsize.model import Checkpoint
from upsize.model.pooling import Vectors

log = logging.getLogger(__name__)

MIN_FIDELITY = 0.97
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


def stored_fidelity(checkpoint: Checkpoint, precision: str, quantization: str) -> float | None:
    """The centred cosine of the worst text that was found for this form before."""
    try:
        stored = json.loads(_file(checkpoint, precision).read_text(encoding="utf-8"))
        found = float(stored["centred_cosine"])
        return found if stored["quantization"] == quantization and -1 <= found <= 1 else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def store_fidelity(checkpoint: Checkpoint, precision: str, quantization: str, found: float) -> float:
    """Write it down for the next start; the same figure."""
    stored = {"centred_cosine": found, "texts": len(TEXTS), "quantization": quantization}
    path = _file(checkpoint, precision)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(stored) + "\n", encoding="utf-8")
    except OSError as error:
        log.warning("%s cannot be written, so %s is checked again next time: %s", path, precision, error)
    return found


def states(checkpoint: Checkpoint, network: Network) -> Vectors:
    """Of the built-in texts, each cut to its last 512 tokens."""
    sequences = [checkpoint.tokenizer.encode(text)[-512:] for text in TEXTS]
    return run_to_end(network.forward(np.concatenate(sequences), [0, *accumulate(map(len, sequences))]))


def _file(checkpoint: Checkpoint, precision: str) -> Path:
    return native.packed_file(checkpoint.identity, precision).with_suffix(".agreement.json")


def require_usable(checkpoint: Checkpoint, states: Vectors, precision: str) -> Vectors:
    """The states, with which others are to be compared; CheckpointError where one is not finite, or is zeros alone."""
    if not (finite := bool(np.isfinite(states).all())) or not states.any(axis=1).all():
        raise CheckpointError(
            checkpoint.folder,
            f"weights that give finite values in {precision}, and not zeros alone",
            f"{'zeros alone' if finite else 'NaN or infinite values'} for a built-in text",
            "Try --dtype float32; if that does not help, the weights are damaged: download them again.",
        )
    return states


def centred_cosine(ours: Vectors, theirs: Vectors) -> float:
    """Of two sets of states (n, hidden) of the same texts, the worst text's.

    −1 where a state is not finite. A state that is zeros alone, or its set's mean, has a cosine of 0.
    """
    if not np.isfinite(ours).all() or not np.isfinite(theirs).all():
        return -1.0
    return float(centred_cosines(ours, theirs, own_means=True).min())
