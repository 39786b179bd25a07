"""Quantisation fidelity: how close the hidden states of int8 or fp8 are to those of bfloat16, on built-in texts.

The measure is the centred cosine: the cosine after each state lost the mean of its set. All texts share a large common
component, which makes a plain cosine look better than it is. The fidelity is computed once for each precision and
stored beside the packed weights.
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
"""Least centred cosine of the worst text. Measured: 0.995 with random weights of the 0.6B shape, 0.99 with outlier
channels among them."""
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
    """The fidelity that was stored for this precision and quantisation; None where there is none."""
    try:
        stored = json.loads(_file(checkpoint, precision).read_text(encoding="utf-8"))
        found = float(stored["centred_cosine"])
        return found if stored["quantization"] == quantization and -1 <= found <= 1 else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def store_fidelity(checkpoint: Checkpoint, precision: str, quantization: str, fidelity: float) -> None:
    """Store the fidelity for the next start. A warning says so where that fails."""
    stored = {"centred_cosine": fidelity, "texts": len(TEXTS), "quantization": quantization}
    path = _file(checkpoint, precision)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(stored) + "\n", encoding="utf-8")
    except OSError as error:
        log.warning(
            "%s cannot be written, so the fidelity of %s is measured again next time: %s", path, precision, error
        )


def hidden_states(checkpoint: Checkpoint, network: Network) -> Vectors:
    """Hidden states (texts, hidden) of the built-in texts, of which each keeps its last 512 tokens."""
    sequences = [checkpoint.tokenizer.encode(text)[-512:] for text in TEXTS]
    return run_to_end(network.forward(np.concatenate(sequences), [0, *accumulate(map(len, sequences))]))


def _file(checkpoint: Checkpoint, precision: str) -> Path:
    return native.packed_file(checkpoint.identity, precision).with_suffix(".agreement.json")


def require_usable(checkpoint: Checkpoint, hidden_states: Vectors, precision: str) -> None:
    """Raise CheckpointError where a hidden state is not finite, or all zeros: nothing can be compared with it."""
    if not (finite := bool(np.isfinite(hidden_states).all())) or not hidden_states.any(axis=1).all():
        raise CheckpointError(
            checkpoint.folder,
            f"weights that give finite values in {precision}, and not zeros alone",
            f"{'zeros alone' if finite else 'NaN or infinite values'} for a built-in text",
            "Try --dtype float32; if that does not help, the weights are damaged: download them again.",
        )


def centred_cosine(hidden_states: Vectors, reference: Vectors) -> float:
    """The worst text's centred cosine of two sets of hidden states (n, hidden) of the same texts.

    −1 where a value is not finite. A state that is all zeros, or equal to its set's mean, has a cosine of 0.
    """
    if not np.isfinite(hidden_states).all() or not np.isfinite(reference).all():
        return -1.0
    return float(centred_cosines(hidden_states, reference, own_means=True).min())
