"""From the last token's hidden state to the result: a unit vector of any dimension, or the log-odds of "yes"."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from upsize.catalog import SMALLEST_DIMENSION
from upsize.errors import CheckpointError, InvalidDimension, NonFiniteVector
from upsize.model.checkpoint import Checkpoint

Vectors = NDArray[np.float32]


def check_dimension(asked: int | None, hidden_size: int) -> int:
    """Return the dimension of the vectors. Raises InvalidDimension unless it is from 32 to the hidden size."""
    if asked is None:
        return hidden_size
    smallest = min(SMALLEST_DIMENSION, hidden_size)
    if isinstance(asked, bool) or not isinstance(asked, int | np.integer) or not smallest <= asked <= hidden_size:
        raise InvalidDimension(asked, smallest, hidden_size)
    return int(asked)


def require_finite(values: Vectors, precision: str) -> None:
    """Raise NonFiniteVector, with the rows, if a row of `values` (n, width) has NaN or infinity."""
    finite = np.isfinite(values).all(axis=1)
    if not finite.all():
        rows = np.flatnonzero(~finite).tolist()
        raise NonFiniteVector(rows[0], precision, rows)


def unit_vectors(states: Vectors, dimension: int, precision: str) -> Vectors:
    """Truncate hidden states (n, hidden) to `dimension` values and normalise: (n, dimension) of length 1.

    Raises NonFiniteVector, with the rows, if a hidden state has NaN or infinity, or only zeros in its first values.
    """
    require_finite(states, precision)
    cut = np.ascontiguousarray(states[:, :dimension])
    lengths = np.linalg.norm(cut.astype(np.float64), axis=1, keepdims=True)
    if not lengths.all():
        rows = np.flatnonzero(lengths == 0).tolist()
        raise NonFiniteVector(rows[0], precision, rows, "zeros alone")
    unit: Vectors = (cut / lengths).astype(np.float32)
    return unit


def rerank_score_weight(checkpoint: Checkpoint) -> Vectors:
    """Return the score weight W[yes] − W[no] (hidden,) in float32: the only rows of the head that a score needs.

    A sequence-classification conversion stores the difference itself as `score.weight`. Raises CheckpointError.
    """
    weights, tokenizer, config = checkpoint.weights, checkpoint.tokenizer, checkpoint.config
    if "score.weight" in weights.tensors:
        difference: Vectors = weights.rows("score.weight", (0,))[0]
        return _require_score_weight(difference, checkpoint)
    named = checkpoint.score_tokens
    yes, no = (named.true, named.false) if named else map(tokenizer.token_id, ("yes", "no"))
    if yes is None or no is None:
        raise CheckpointError(checkpoint.folder / "tokenizer.json", "the tokens 'yes' and 'no'", "a tokenizer without")
    stored_head = "lm_head.weight" in weights.tensors
    if not config.tied and not stored_head:
        raise CheckpointError(
            checkpoint.folder, "lm_head.weight or score.weight (config.json: tie_word_embeddings is false)", "neither"
        )
    rows = weights.rows("lm_head.weight" if stored_head else "embed_tokens.weight", (yes, no))
    if stored_head and config.tied and not np.array_equal(rows, weights.rows("embed_tokens.weight", (yes, no))):
        raise CheckpointError(
            checkpoint.folder,
            "no lm_head.weight, or the token vectors again (config.json: tie_word_embeddings is true)",
            "others in the rows that score",
            "Set tie_word_embeddings to false if the model was trained with a head of its own; otherwise remove that.",
        )
    return _require_score_weight(rows[0] - rows[1], checkpoint)


def _require_score_weight(direction: Vectors, checkpoint: Checkpoint) -> Vectors:
    if not direction.any():
        raise CheckpointError(
            checkpoint.folder,
            "head rows of 'yes' and 'no' that differ",
            "equal ones, so every document would score 0.5",
            "The weights are damaged: download them again.",
        )
    return direction


def probability(log_odds: Vectors) -> Vectors:
    """Return softmax([no, yes])[1] from the log-odds."""
    return np.exp(-np.logaddexp(0.0, -log_odds.astype(np.float64))).astype(np.float32)
