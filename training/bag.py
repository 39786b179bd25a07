"""Token vectors learned on their own: a text is the sum of its tokens' vectors, and meets the teacher's vector of it.

That is the model without its layers, a few hundred times faster to train, and what `Qwen3.start_from_tokens` puts into
the first layers. The length of a token's vector is its weight in the mean, so frequent words end up short, as in smooth
inverse frequency (Arora et al. 2017), from which this starts.
"""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F

from .batches import TokenizedTexts
from .losses import clashes, distil_loss, pair_loss
from .rows import MAX_TOKENS, DistilRows, TrainingPairs
from .token_vectors import token_vectors, token_weights

STEPS = 3600
BATCH, PAIRS = 1024, 512
PAIR_EVERY = 3
LEARNING_RATE = 4e-3
SMALLEST = 0.0045
"""Weight that attention can still express, see `Qwen3.start_from_tokens`."""


def train(
    distil: DistilRows, pairs: TrainingPairs, vectors: np.ndarray, start: Tensor, dimensions: Sequence[int], seed: int
) -> Tensor:
    """Learn the vectors (vocabulary, dimension) whose sums are text vectors.

    Args:
        distil: texts with their teacher vectors' rows.
        pairs: queries and passages, for contrast.
        vectors: the teacher's vectors (rows, dimension), in the student's space.
        start: initial vectors (vocabulary, dimension).
        dimensions: where the contrast cuts.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    bag = nn.EmbeddingBag.from_pretrained(start.clone(), freeze=False, mode="sum")
    optimizer = torch.optim.Adam(bag.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.98))
    sums: dict[str, list[float]] = {"distil": [], "pair": []}
    began = time.monotonic()
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * min((step + 1) / 100, 1 - step / STEPS)
        if step % PAIR_EVERY == PAIR_EVERY - 1:
            drawn = pairs.draw[str(rng.choice(["en", "zh", "other"], p=[0.5, 0.35, 0.15]))](rng, PAIRS)
            queries, passages = (bag(*side.bags(drawn)) for side in (pairs.queries, pairs.passages))
            numbers = torch.from_numpy(pairs.same[drawn])
            loss = pair_loss(queries, passages, ~clashes(numbers, numbers), dimensions)
            sums["pair"].append(loss.item())
        else:
            drawn = distil.draw(rng, BATCH)
            targets = torch.from_numpy(vectors[distil.targets[drawn]].astype(np.float32))
            loss = distil_loss(bag(*distil.texts.bags(drawn)), targets)
            sums["distil"].append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 300 == 299:
            means = {name: round(float(np.mean(values[-200:])), 4) for name, values in sums.items()}
            print(f"token vectors, step {step + 1} of {STEPS}: {means}, {time.monotonic() - began:.0f} s", flush=True)
    return bag.weight.detach()


def learned(
    out: Path,
    name: str,
    distil: DistilRows,
    pairs: TrainingPairs,
    vectors: np.ndarray,
    space: np.ndarray,
    cuts: Sequence[int],
) -> tuple[Tensor, Tensor]:
    """What `stored` gives, learned first where it is not there.

    Args:
        out: folder of the stages.
        name: tells the file.
        distil: texts with their teacher vectors' rows.
        pairs: queries and passages.
        vectors: the teacher's vectors in the student's space (rows, dimension).
        space: the student's space in the teacher's (384, dimension).
        cuts: where the contrast cuts.
    """
    path = file_of(out, name)
    if not path.exists():
        first = token_vectors(distil.tokenizer, space, out)
        weights = token_weights(distil.texts, len(first), distil.end)
        start = F.normalize(first, dim=1) * weights[:, None]
        np.save(path, train(distil, pairs, vectors, start, cuts, seed=20).numpy())
    return stored(out, name)


def file_of(out: Path, name: str) -> Path:
    """Where the vectors of a size are kept."""
    return out / f"bag-{name}.npy"


def stored(out: Path, name: str) -> tuple[Tensor, Tensor]:
    """Token vectors with a root mean square of one, and their weights in (0, 1]."""
    rows = torch.from_numpy(np.load(file_of(out, name)))
    lengths = rows.norm(dim=1)
    weights = (lengths / lengths.quantile(0.995)).clamp(SMALLEST, 1)
    return rows / rows.pow(2).mean(1, keepdim=True).sqrt().clamp(min=1e-8), weights


class BagEncoder:
    """Texts to unit vectors with learned token vectors alone."""

    def __init__(self, out: Path, name: str, tokenizer: Tokenizer) -> None:
        tokens, weights = stored(out, name)
        self.tokens, self.tokenizer = tokens * weights[:, None], tokenizer

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Unit vectors (len(texts), dimension), float32."""
        flat, offsets = TokenizedTexts(texts, self.tokenizer, MAX_TOKENS).bags(np.arange(len(texts)))
        return F.normalize(F.embedding_bag(flat, self.tokens, offsets, mode="sum"), dim=1).numpy()
