"""The same answers from transformers, computed the way the model cards show it: padded at the left, all logits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification

from upsize.model.pooling import Vectors

PREFIX = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
    'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
)
SUFFIX = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
TASK = "Given a web search query, retrieve relevant passages that answer the query"


def _padded(rows: Sequence[list[int]], pad: int) -> dict[str, torch.Tensor]:
    longest = max(map(len, rows))
    return {
        "input_ids": torch.tensor([[pad] * (longest - len(r)) + r for r in rows]),
        "attention_mask": torch.tensor([[0] * (longest - len(r)) + [1] * len(r) for r in rows]),
    }


def _ids(folder: Path, texts: Sequence[str]) -> tuple[list[list[int]], Tokenizer]:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    return [e.ids for e in tokenizer.encode_batch(list(texts))], tokenizer


@torch.inference_mode()
def vectors(folder: Path, texts: Sequence[str]) -> Vectors:
    """Unit vectors of texts; the end token comes from the tokenizer's own rule."""
    rows, tokenizer = _ids(folder, texts)
    model = AutoModel.from_pretrained(folder, dtype=torch.float32)
    states = model(**_padded(rows, tokenizer.token_to_id("<|endoftext|>"))).last_hidden_state[:, -1]
    return torch.nn.functional.normalize(states, dim=1).numpy()


def _rerank_rows(folder: Path, query: str, documents: Sequence[str]) -> tuple[list[list[int]], Tokenizer]:
    bodies, tokenizer = _ids(folder, [f"<Instruct>: {TASK}\n<Query>: {query}\n<Document>: {d}" for d in documents])
    prefix, suffix = tokenizer.encode(PREFIX).ids, tokenizer.encode(SUFFIX).ids
    return [prefix + body + suffix for body in bodies], tokenizer


@torch.inference_mode()
def log_odds(folder: Path, query: str, documents: Sequence[str]) -> Vectors:
    """logit(yes) − logit(no) at the last position."""
    rows, tokenizer = _rerank_rows(folder, query, documents)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    logits = model(**_padded(rows, tokenizer.token_to_id("<|endoftext|>"))).logits[:, -1]
    return (logits[:, tokenizer.token_to_id("yes")] - logits[:, tokenizer.token_to_id("no")]).numpy()


@torch.inference_mode()
def classifier_logits(folder: Path, query: str, documents: Sequence[str]) -> Vectors:
    """The one logit of a sequence-classification conversion, a document at a time."""
    rows, _ = _rerank_rows(folder, query, documents)
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32, num_labels=1)
    return np.array([float(model(input_ids=torch.tensor([row])).logits[0, 0]) for row in rows], np.float32)
