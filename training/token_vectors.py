"""Token vectors to start from: what the teacher says of each vocabulary entry, turned into the student's space."""

import json
import re
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer

from .batches import TokenizedTexts
from .network import CHANNELS
from .teacher import Teacher

SMOOTHING = 2e-4


def basis(vectors: np.ndarray, dimensions: int) -> np.ndarray:
    """The leading right singular vectors (384, dimensions) of teacher vectors.

    Turning by them keeps dot products as far as `dimensions` allow, and puts what tells most texts apart first,
    so that cutting a vector to its first values (MRL) loses little.
    """
    second_moment = vectors.T.astype(np.float64) @ vectors.astype(np.float64)
    _, eigenvectors = np.linalg.eigh(second_moment)
    return eigenvectors[:, ::-1][:, :dimensions].astype(np.float32)


def turn(out: Path, vectors: np.ndarray, hidden: int) -> np.ndarray:
    """The student's space in the teacher's (384, hidden); nothing falls on the student's channels."""
    path = out / f"turn-{hidden}.npy"
    if not path.exists():
        found = basis(vectors[:: max(len(vectors) // 50_000, 1)], hidden)
        found[:, hidden - CHANNELS :] = 0
        np.save(path, found)
    return np.load(path)


def glosses(out: Path) -> dict[str, str]:
    """English for single words of other languages, from the dictionary rows; the first entry of a word counts."""
    known: dict[str, str] = {}
    with (out / "distil.jsonl").open(encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            if row["source"] in {"cc-cedict", "omw-lexicon", "cldr-names"}:
                known.setdefault(row["text"].lower(), row["english"])
    return known


def token_vectors(tokenizer: Tokenizer, space: np.ndarray, out: Path) -> torch.Tensor:
    """Start vectors (vocabulary, dimensions) with a root mean square of one; noise where no English is known."""
    path = out / "token_vectors.npy"
    if not path.exists():
        known = glosses(out)
        words = [tokenizer.decode([token]).strip() for token in range(tokenizer.get_vocab_size())]
        english = [known.get(word.lower()) or (word if re.fullmatch(r"[ -~]+", word) else None) for word in words]
        usable = [token for token, text in enumerate(english) if text]
        vectors = np.zeros((len(words), space.shape[0]), dtype=np.float32)
        vectors[usable] = Teacher().encode([english[token] or "" for token in usable])
        vectors[usable] -= vectors[usable].mean(0)
        print(f"vocabulary entries with a teacher vector: {len(usable):,} of {len(words):,}", flush=True)
        np.save(path, vectors)
    start = torch.from_numpy(np.load(path) @ space)
    noise = torch.randn(start.shape, generator=torch.Generator().manual_seed(0)) * 0.3
    scale = start.norm(dim=1, keepdim=True) / start.shape[1] ** 0.5
    return torch.where(scale > 1e-4, start / scale.clamp(min=1e-4), noise)


def token_weights(texts: TokenizedTexts, vocabulary: int, end: int) -> torch.Tensor:
    """Smooth inverse frequency a / (a + p) of every token (Arora et al. 2017); the end token weighs least."""
    counts = np.bincount(texts.flat, minlength=vocabulary).astype(np.float64)
    weights = SMOOTHING / (SMOOTHING + counts / counts.sum())
    weights[end] = 0
    return torch.from_numpy(weights).float().clamp(min=0.005)
