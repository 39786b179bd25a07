"""Token ids on disk-free flat arrays, right-padded batches of like length, and an encoder for evaluation."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional as F

from .network import Qwen3
from .tokenizer import END


class TokenizedTexts:
    """Token ids of many texts in one array; `texts[i]` is the ids of text i, without the end token."""

    def __init__(self, texts: Sequence[str], tokenizer: Tokenizer, limit: int) -> None:
        parts: list[np.ndarray] = []
        for start in range(0, len(texts), 20_000):
            encodings = tokenizer.encode_batch(list(texts[start : start + 20_000]), add_special_tokens=False)
            parts += [np.array(encoding.ids[:limit], dtype=np.uint16) for encoding in encodings]
        self.lengths = np.array([len(part) for part in parts])
        self.starts = np.concatenate([[0], np.cumsum(self.lengths)])
        self.flat = np.concatenate(parts) if parts else np.empty(0, dtype=np.uint16)

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> np.ndarray:
        return self.flat[self.starts[index] : self.starts[index + 1]]

    def bags(self, indices: np.ndarray) -> tuple[Tensor, Tensor]:
        """The ids of several texts one behind the other, and where each text starts."""
        lengths = self.lengths[indices]
        offsets = np.cumsum(lengths) - lengths
        flat = self.flat[np.repeat(self.starts[indices] - offsets, lengths) + np.arange(lengths.sum())]
        return torch.from_numpy(flat.astype(np.int64)), torch.from_numpy(offsets)


def pad(sequences: Sequence[Sequence[int] | np.ndarray], end: int) -> tuple[Tensor, Tensor]:
    """Ids (batch, longest + 1), each sequence closed and padded by the end token, and where the closing one stands."""
    last = np.array([len(sequence) for sequence in sequences])
    ids = np.full((len(sequences), int(last.max()) + 1), end, dtype=np.int64)
    for row, sequence in zip(ids, sequences, strict=True):
        row[: len(sequence)] = sequence
    return torch.from_numpy(ids), torch.from_numpy(last[:, None])


def by_length(lengths: np.ndarray, tokens: int) -> Iterator[np.ndarray]:
    """Indices in groups of like length, each of at most `tokens` padded tokens (one text at least)."""
    order = np.argsort(lengths, kind="stable")
    start = 0
    while start < len(order):
        stop = start + 1
        while stop < len(order) and (lengths[order[stop]] + 1) * (stop + 1 - start) <= tokens:
            stop += 1
        yield order[start:stop]
        start = stop


class Encoder:
    """Texts to unit vectors with a trained model."""

    def __init__(self, model: Qwen3, tokenizer: Tokenizer, limit: int = 1024) -> None:
        self.model, self.tokenizer, self.limit = model, tokenizer, limit
        self.end = tokenizer.token_to_id(END)

    @torch.inference_mode()
    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Unit vectors (len(texts), hidden), float32; texts are cut to `limit` − 1 tokens before the end token."""
        ids = TokenizedTexts(texts, self.tokenizer, self.limit - 1)
        vectors = np.empty((len(texts), self.model.size.hidden), dtype=np.float32)
        for group in by_length(ids.lengths, 8192):
            vectors[group] = self.model(*pad([ids[i] for i in group], self.end))[:, 0].numpy()
        return F.normalize(torch.from_numpy(vectors), dim=1).numpy()
