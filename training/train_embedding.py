"""Trains an embedding model: distillation over English and translated text, contrast over queries and passages."""

import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from . import bag, checkpoint, evaluate, mine, teacher, token_vectors, turn
from .batches import Encoder
from .losses import distil_loss, pair_loss
from .network import SIZES, Qwen3
from .rows import DistilRows, TrainingPairs
from .streams import DistilStream, PairStream
from .tokenizer import train


@dataclass(frozen=True)
class EmbeddingRecipe:
    """How to train."""

    size: str
    dimensions: tuple[int, ...]  # matryoshka: the contrast is taken at each of these, twice where named twice
    learning_rate: float
    distil_tokens: int = 4000  # padded tokens of a distillation batch
    pair_tokens: int = 6000  # padded passage tokens of a contrastive batch
    contrast_every: int = 4  # one batch in so many is contrastive
    warmup: int = 100
    kept: float = 0.65  # of what training changed in the weights
    turned: tuple[int, ...] = ()  # dimensions that a turn of the finished model is learned for
    seed: int = 20
    threads: int = 1


RECIPES = {
    "xs": EmbeddingRecipe("xs", (32, 64), learning_rate=8e-4),
    "s": EmbeddingRecipe("s", (32, 64, 128), learning_rate=6e-4),
    "m": EmbeddingRecipe("m", (32, 64, 64, 128, 256), learning_rate=5e-4, contrast_every=3, turned=(32, 64, 128)),
}


class Data:
    """What the earlier stages left, for one size."""

    def __init__(self, out: Path, size: str) -> None:
        self.tokenizer: Tokenizer = train(out)
        known, vectors = teacher.load(out)
        print(f"teacher vectors: {len(vectors):,}", flush=True)
        self.turn = token_vectors.turn(out, vectors, SIZES[size].hidden)
        self.distil, self.pairs = DistilRows(out, self.tokenizer, known), TrainingPairs(out, self.tokenizer)
        self.teacher = vectors
        self.vectors = (vectors.astype(np.float32) @ self.turn).astype(np.float16)


def start(data: Data, out: Path, recipe: EmbeddingRecipe) -> tuple[Qwen3, np.ndarray]:
    """The model at step 0 and the mined negatives."""
    torch.manual_seed(recipe.seed)
    tokens, weights = bag.learned(out, recipe.size, data.distil, data.pairs, data.vectors, data.turn, recipe.dimensions)
    negatives = mine.negatives(out, data.pairs, tokens * weights[:, None])
    model = Qwen3(SIZES[recipe.size])
    model.start_from_tokens(tokens, weights)
    return model, negatives


def optimizer_of(model: Qwen3, rate: float) -> torch.optim.AdamW:
    """AdamW with weight decay on matrices only."""
    groups = [
        {"params": [p for p in model.parameters() if p.dim() == 2], "weight_decay": 0.01},
        {"params": [p for p in model.parameters() if p.dim() == 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), fused=True)


def averaged(first: dict[str, Tensor], model: Qwen3, kept: float) -> Qwen3:
    """A copy between the start and the end of training: the mean of both weights (Wortsman et al. 2022, "WiSE-FT").

    The end is better at what it was trained for, the start more even over languages; the mean is above both on the
    development splits.

    Args:
        first: the weights at step 0.
        model: the end of training.
        kept: weight of the end, the rest is the start's.
    """
    copy = Qwen3(model.size)
    copy.load_state_dict({name: torch.lerp(first[name], end, kept) for name, end in model.state_dict().items()})
    return copy


def rounded(model: Qwen3) -> Qwen3:
    """A copy whose weights are rounded to bfloat16, as they will be stored."""
    copy = Qwen3(model.size)
    copy.load_state_dict({name: tensor.bfloat16().float() for name, tensor in model.state_dict().items()})
    return copy.eval()


def run(shared: Path, out: Path, folder: Path, recipe: EmbeddingRecipe, minutes: float) -> None:
    """Train, resuming from `out/SIZE.pt`, and write the checkpoint into `folder`.

    Args:
        shared: the data folder, for the development sets.
        out: folder with the rows and teacher vectors of the earlier stages.
        folder: where the finished model goes.
        recipe: how to train.
        minutes: how long, of one core (two share them); the learning rate falls over it, however many steps it holds.
    """
    torch.set_num_threads(recipe.threads)
    data = Data(out, recipe.size)
    model, negatives = start(data, out, recipe)
    optimizer = optimizer_of(model, recipe.learning_rate)
    first = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state_path, step, spent, tokens = out / f"{recipe.size}.pt", 0, 0.0, 0
    if state_path.exists():
        state = torch.load(state_path, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        step, spent, tokens = state["step"], state["spent"], state["tokens"]

    def scores(of: Qwen3) -> dict[str, float]:
        return evaluate.development(Encoder(of, data.tokenizer), shared)

    print("development scores at the start:", scores(rounded(model)), flush=True)
    forward = torch.compile(model.train(), dynamic=True)
    texts = iter(DistilStream(data.distil, data.vectors, recipe.distil_tokens, recipe.seed + step))
    asked = iter(PairStream(data.pairs, data.distil, negatives, recipe.pair_tokens, recipe.seed + 1 + step))
    losses: dict[str, list[float]] = {"distil": [], "pair": []}
    began = last_report = last_save = time.process_time()  # the core's time: other work beside it takes no steps away
    before = spent
    while (progress := (spent := before + time.process_time() - began) / (60 * minutes)) < 1:
        falling = 0.02 + 0.98 * (1 + math.cos(math.pi * progress)) / 2
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * min((step + 1) / recipe.warmup, falling)
        if step % recipe.contrast_every == recipe.contrast_every - 1:
            pair = next(asked)
            queries = forward(pair.query_ids, pair.query_last)[:, 0]
            passages = forward(pair.passage_ids, pair.passage_last)[:, 0]
            loss = pair_loss(queries, passages, pair.allowed, recipe.dimensions)
            losses["pair"].append(loss.item())
            tokens += pair.query_ids.numel() + pair.passage_ids.numel()
        else:
            text = next(texts)
            loss = distil_loss(forward(text.ids, text.last)[:, 0], text.targets)
            losses["distil"].append(loss.item())
            tokens += text.ids.numel()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        step += 1
        now = time.process_time()
        if now - last_report > 60:
            means = {name: round(float(np.mean(values[-200:])), 4) for name, values in losses.items() if values}
            print(
                f"step {step}, {100 * progress:.1f} %, {means}, {tokens / (before + now - began):.0f} tokens/s",
                flush=True,
            )
            last_report = now
        if now - last_save > 480:
            save(model, optimizer, step, spent, tokens, state_path)
            print(f"step {step}:", scores(rounded(model)), flush=True)
            last_save = last_report = time.process_time()
    save(model, optimizer, step, spent, tokens, state_path)
    final = averaged(first, model, recipe.kept).eval()
    if recipe.turned:
        found = turn.learned(*turn.vectors(final, texts, asked), recipe.turned, recipe.seed)
        final = turn.folded(final, found)
    final = rounded(final)
    checkpoint.write(final, data.tokenizer, folder, reranker=False)
    finished = {
        "starts_from": "token vectors whose weighted mean meets the teacher's vector of a text",
        "steps": step,
        "hours": round(spent / 3600, 3),
        "training_tokens_per_second": round(tokens / spent),
        "teacher_vectors": len(data.teacher),
        "recipe": vars(recipe),
    }
    checkpoint.write_json(out / f"{recipe.size}.json", finished)
    print("development scores at the end:", scores(final), flush=True)


def save(model: Qwen3, optimizer: torch.optim.Optimizer, step: int, spent: float, tokens: int, path: Path) -> None:
    """Write what is needed to go on, then put it in place of the last one."""
    part = path.with_suffix(".tmp")
    counts = {"step": step, "spent": spent, "tokens": tokens}
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()} | counts, part)
    part.rename(path)
