"""Trains the embedding model: distillation over English and translated text, contrast over query and passage pairs."""

import json
import math
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional as F

from . import checkpoint, evaluate, teacher, warm_start
from .batches import Encoder, Texts, by_length, pad
from .network import SIZES, Qwen3, load
from .prompts import DEFAULT_TASK, SYMMETRIC_TASK, query_text
from .tokenizer import END, train

DIMENSIONS = (32, 64, 128, 192)  # matryoshka: the losses are taken at each of these
TEMPERATURE = 0.05
TASKS = {  # what the instruction says for pairs of a source, where the default task would be odd
    "oewn": "Given a term, retrieve its definition",
    "nl2bash": "Given a description, retrieve the command that does it",
    "tldr": "Given a description, retrieve the command that does it",
    "thealgorithms": "Given a description, retrieve the function that does it",
    "wiki-split": SYMMETRIC_TASK,
}


@dataclass(frozen=True)
class Recipe:
    """How long and how to train."""

    size: str = "s"
    distil_tokens: int = 3000  # padded tokens of a distillation batch
    pair_tokens: int = 6000  # padded passage tokens of a contrastive batch
    contrast_every: int = 4  # one batch in so many is contrastive
    learning_rate: float = 6e-4
    warmup: int = 100
    max_tokens: int = 256
    seed: int = 20
    threads: int = 2


def share(row: dict) -> float:
    """How often a distillation row is drawn: sentences above words, Chinese and English first."""
    if row["source"] in {"cc-cedict", "omw-lexicon", "cldr-names"}:
        return {"zh": 0.35, "zh-Hant": 0.03}.get(row["lang"], 0.05)
    if row["lang"] == "zh":
        return {"tatoeba": 4.0, "sib200": 10.0, "security-101": 3.0, "tldr": 1.5}.get(row["source"], 1.0)
    if row["lang"] == "en":
        weights = {"tatoeba": 2.0, "sib200": 6.0, "wiki-split": 1.0, "oewn": 0.35, "opentriviaqa": 0.8, "pairs": 0.5}
        return weights.get(row["source"], 0.35)
    return {"sib200": 3.0, "zh-Hant": 1.0}.get(row["source"], 0.12)


class DistilBatches:
    """Texts with the teacher vector they should meet."""

    def __init__(
        self, out: Path, tokenizer: Tokenizer, turn: np.ndarray, known: dict[str, int], recipe: Recipe
    ) -> None:
        rows = [json.loads(line) for line in (out / "distil.jsonl").open(encoding="utf-8")]
        for line in (out / "pairs.jsonl").open(encoding="utf-8"):
            pair = json.loads(line)
            if pair["lang"] == "en":
                for text in (pair["query"], pair["passage"]):
                    rows.append({"text": text, "english": text, "lang": "en", "source": "pairs"})
        rows = [row for row in rows if row["english"] in known]
        self.targets = np.array([known[row["english"]] for row in rows])
        self.texts = Texts([row["text"] for row in rows], tokenizer, recipe.max_tokens)
        weights = np.array([share(row) for row in rows])
        self.cumulative = np.cumsum(weights / weights.sum())
        languages = np.array([row["lang"] for row in rows])
        self.joinable = {lang: np.flatnonzero((languages == lang) & (self.texts.lengths > 6)) for lang in ("en", "zh")}
        self.turn, self.recipe = turn, recipe
        self.end = tokenizer.token_to_id(END)
        self.rng = np.random.default_rng(recipe.seed)
        self.prefixes = [tokenizer.encode(query_text("", task)).ids for task in (DEFAULT_TASK, SYMMETRIC_TASK)]
        shares = {lang: float(weights[languages == lang].sum() / weights.sum()) for lang in sorted(set(languages))}
        print(f"distillation rows: {len(rows):,}; share drawn by language: {shares}", flush=True)

    def draw(self, vectors: np.ndarray, count: int = 40_000) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Batches (ids, last, targets) of `count` drawn rows; some behind an instruction, some several joined."""
        chosen = np.searchsorted(self.cumulative, self.rng.random(count)).clip(max=len(self.targets) - 1)
        sequences, targets = [], []
        for index in chosen:
            sequence, target = self.texts[index], vectors[self.targets[index]].astype(np.float32)
            kind = self.rng.random()
            if kind < 0.2:
                sequence = np.concatenate([self.prefixes[int(kind < 0.05)], sequence])
            elif kind < 0.26:  # a made-up document: its target is the sum of its sentences' vectors
                others = self.rng.choice(self.joinable["zh" if kind < 0.24 else "en"], self.rng.integers(2, 6))
                sequence = np.concatenate([self.texts[other] for other in others])[: self.recipe.max_tokens]
                target = vectors[self.targets[others]].astype(np.float32).sum(0)
            sequences.append(sequence)
            targets.append(target)
        groups = list(by_length(np.array([len(sequence) for sequence in sequences]), self.recipe.distil_tokens))
        self.rng.shuffle(groups)  # type: ignore[arg-type]
        for group in groups:
            turned = torch.from_numpy(np.stack([targets[i] for i in group]) @ self.turn)
            yield *pad([sequences[i] for i in group], self.end), turned


class PairBatches:
    """Queries behind an instruction with their passages, and spans of texts with the text they come from."""

    def __init__(self, out: Path, tokenizer: Tokenizer, distil: DistilBatches, recipe: Recipe) -> None:
        rows = [json.loads(line) for line in (out / "pairs.jsonl").open(encoding="utf-8")]
        self.queries = Texts([row["query"] for row in rows], tokenizer, 64)
        self.passages = Texts([row["passage"] for row in rows], tokenizer, recipe.max_tokens)
        numbers: dict[str, int] = {}
        self.same = np.array(
            [[numbers.setdefault(row[side], len(numbers)) for side in ("query", "passage")] for row in rows]
        )
        weights = {"oewn": 0.25, "nl2bash": 0.3, "tldr": 0.15, "laws-zh": 1.2, "pingcap-docs": 1.2, "peps": 0.7}
        drawn = np.array([weights.get(row["source"], 1.0) for row in rows])
        languages = np.array([row["lang"] for row in rows])
        self.cumulative = {}
        for lang in ("en", "zh"):
            part = np.flatnonzero(languages == lang)
            self.cumulative[lang] = (part, np.cumsum(drawn[part] / drawn[part].sum()))
        tasks = [TASKS.get(row["source"], DEFAULT_TASK) for row in rows]
        prefixes = {task: tokenizer.encode(query_text("", task)).ids for task in set(tasks) | {DEFAULT_TASK}}
        self.prefixes = [prefixes[task] for task in tasks]
        self.default = prefixes[DEFAULT_TASK]
        self.distil, self.recipe = distil, recipe
        self.end = tokenizer.token_to_id(END)
        self.rng = np.random.default_rng(recipe.seed + 1)
        print(f"pairs: {len(rows):,}", flush=True)

    def span(self, text: np.ndarray) -> np.ndarray:
        """A run of 4 to 16 tokens, a tenth of them left out."""
        length = min(int(self.rng.integers(4, 17)), max(len(text) - 2, 1))
        start = int(self.rng.integers(0, len(text) - length + 1))
        part = text[start : start + length]
        keep = self.rng.random(length) > 0.1
        return part[keep] if keep.any() else part

    def example(self, lang: str) -> tuple[np.ndarray, np.ndarray, int, int]:
        """Query ids, passage ids and two numbers that tell the same query and the same passage again."""
        rng = self.rng
        kind = rng.random()
        if kind < (0.5 if lang == "en" else 0.4):  # a written pair
            part, cumulative = self.cumulative[lang]
            index = int(part[min(np.searchsorted(cumulative, rng.random()), len(part) - 1)])
            query = self.queries[index]
            if rng.random() < 0.9:
                query = np.concatenate([self.prefixes[index], query])
            return query, self.passages[index], int(self.same[index, 0]), int(self.same[index, 1])
        if kind < 0.7:  # a span of a passage
            part, cumulative = self.cumulative[lang]
            index = int(part[min(np.searchsorted(cumulative, rng.random()), len(part) - 1)])
            passage, number = self.passages[index], int(self.same[index, 1])
        else:  # a span of a made-up document
            others = rng.choice(self.distil.joinable[lang], rng.integers(2, 6))
            passage = np.concatenate([self.distil.texts[other] for other in others])[: self.recipe.max_tokens]
            number = -int(rng.integers(1, 2**60))
        return np.concatenate([self.default, self.span(passage)]), passage, -int(rng.integers(1, 2**60)), number

    def draw(self, count: int = 4000) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor, Tensor]]:
        """Batches (query ids, last, passage ids, last, allowed) of one language; `allowed` masks false negatives."""
        batches = []
        for lang in ("en", "zh"):
            examples = [self.example(lang) for _ in range(count // 2)]
            for group in by_length(np.array([len(example[1]) for example in examples]), self.recipe.pair_tokens):
                if len(group) > 8:
                    batches.append([examples[i] for i in group[:256]])
        random.Random(int(self.rng.integers(2**31))).shuffle(batches)
        for batch in batches:
            numbers = torch.tensor([example[2:] for example in batch])
            clash = (numbers[:, None] == numbers[None]).any(-1) & ~torch.eye(len(batch), dtype=torch.bool)
            queries = pad([example[0] for example in batch], self.end)
            yield *queries, *pad([example[1] for example in batch], self.end), ~clash


def distil_loss(states: Tensor, targets: Tensor) -> Tensor:
    """1 − cosine at every dimension, and InfoNCE of each text against the targets of its batch at the full one."""
    loss = states.new_zeros(())
    for dimension in DIMENSIONS:
        loss = loss + (1 - F.cosine_similarity(states[:, :dimension], targets[:, :dimension])).mean()
    ours, theirs = F.normalize(states, dim=1), F.normalize(targets, dim=1)
    soft = F.softmax(theirs @ theirs.T / TEMPERATURE, dim=1)  # near-equal targets are no negatives
    return loss + 0.3 * F.cross_entropy(ours @ theirs.T / TEMPERATURE, soft)


def pair_loss(queries: Tensor, passages: Tensor, allowed: Tensor) -> Tensor:
    """InfoNCE in both directions over the batch, at every dimension."""
    loss = queries.new_zeros(())
    labels = torch.arange(len(queries))
    for dimension in DIMENSIONS:
        q, p = F.normalize(queries[:, :dimension], dim=1), F.normalize(passages[:, :dimension], dim=1)
        scores = (q @ p.T / TEMPERATURE).masked_fill(~allowed, -1e4)
        loss = loss + F.cross_entropy(scores, labels) + 0.5 * F.cross_entropy(scores.T, labels)
    return loss / 4


def rounded(model: Qwen3) -> Qwen3:
    """A copy whose weights are rounded to bfloat16, as they will be stored."""
    copy = Qwen3(model.size)
    copy.load_state_dict({name: tensor.bfloat16().float() for name, tensor in model.state_dict().items()})
    return copy.eval()


def run(shared: Path, out: Path, folder: Path, recipe: Recipe, minutes: float, tokens_from: Path | None = None) -> None:
    """Train, resuming from `out/embedding.pt`, and write the checkpoint into `folder` as it goes.

    Args:
        shared: the data folder, for the development sets.
        out: folder with the rows and teacher vectors of the earlier stages.
        folder: where the finished model goes.
        recipe: how to train.
        minutes: how long; the learning rate falls over this time, however many steps it holds.
        tokens_from: a checkpoint of an earlier run whose token vectors to start from, instead of the teacher's.
    """
    torch.set_num_threads(recipe.threads)
    torch.manual_seed(recipe.seed)
    tokenizer = train(out)
    known, vectors = teacher.load(out)
    print(f"teacher vectors: {len(vectors):,}", flush=True)
    turn_path = out / "turn.npy"
    if not turn_path.exists():
        np.save(turn_path, warm_start.basis(vectors[:: max(len(vectors) // 50_000, 1)], SIZES[recipe.size].hidden))
    turn = np.load(turn_path)
    model = Qwen3(SIZES[recipe.size])
    decayed = [p for p in model.parameters() if p.dim() == 2]
    groups = [{"params": decayed, "weight_decay": 0.01}, {"params": [p for p in model.parameters() if p.dim() == 1]}]
    optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True)
    state_path, step, spent = out / "embedding.pt", 0, 0.0
    if state_path.exists():
        state = torch.load(state_path, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        step, spent = state["step"], state["spent"]
    distil = DistilBatches(out, tokenizer, turn, known, recipe)
    pairs = PairBatches(out, tokenizer, distil, recipe)
    if not step:
        vectors_of_tokens = warm_start.token_vectors(tokenizer, turn, out)
        if tokens_from:
            vectors_of_tokens = load(tokens_from, SIZES[recipe.size]).embed_tokens.weight.detach()
            vectors_of_tokens = vectors_of_tokens / vectors_of_tokens.pow(2).mean(1, keepdim=True).sqrt()
        weights = warm_start.token_weights(distil.texts, distil.prefixes[0], len(vectors_of_tokens), distil.end)
        model.start_from_tokens(vectors_of_tokens, weights)
    distil.rng, pairs.rng = np.random.default_rng(recipe.seed + step), np.random.default_rng(recipe.seed + 1 + step)
    print(
        "development scores at the start:", evaluate.development(Encoder(model.eval(), tokenizer), shared), flush=True
    )
    forward = torch.compile(model.train(), dynamic=True)
    distil_stream, pair_stream = distil.draw(vectors), pairs.draw()
    losses: dict[str, list[float]] = {"distil": [], "pair": []}
    began = last_report = last_save = time.monotonic()
    before, tokens = spent, 0
    while True:
        spent = before + time.monotonic() - began
        progress = spent / (60 * minutes)
        if progress >= 1:
            break
        rate = recipe.learning_rate * min(
            (step + 1) / recipe.warmup, 0.02 + 0.98 * (1 + math.cos(math.pi * progress)) / 2
        )
        for group in optimizer.param_groups:
            group["lr"] = rate
        if step % recipe.contrast_every == recipe.contrast_every - 1:
            batch = next(pair_stream, None)
            if batch is None:
                pair_stream = pairs.draw()
                batch = next(pair_stream)
            query_ids, query_last, passage_ids, passage_last, allowed = batch
            loss = pair_loss(forward(query_ids, query_last)[:, 0], forward(passage_ids, passage_last)[:, 0], allowed)
            losses["pair"].append(loss.item())
            tokens += query_ids.numel() + passage_ids.numel()
        else:
            item = next(distil_stream, None)
            if item is None:
                distil_stream = distil.draw(vectors)
                item = next(distil_stream)
            ids, last, targets = item
            loss = distil_loss(forward(ids, last)[:, 0], targets)
            losses["distil"].append(loss.item())
            tokens += ids.numel()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        step += 1
        now = time.monotonic()
        if now - last_report > 60:
            means = {name: round(float(np.mean(values[-200:])), 4) for name, values in losses.items() if values}
            speed = tokens / (now - began)
            print(f"step {step}, {100 * progress:.1f} %, rate {rate:.5f}, {means}, {speed:.0f} tokens/s", flush=True)
            last_report = now
        if now - last_save > 480:
            save(model, optimizer, step, spent, state_path)
            copy = rounded(model)
            checkpoint.write(copy, tokenizer, folder, reranker=False)
            print(f"step {step}:", evaluate.development(Encoder(copy, tokenizer), shared), flush=True)
            last_save = last_report = time.monotonic()
    save(model, optimizer, step, spent, state_path)
    checkpoint.write(rounded(model), tokenizer, folder, reranker=False)
    start = "token vectors of an earlier run" if tokens_from else "the teacher's vectors of the vocabulary entries"
    finished = {"starts_from": f"{start}, averaged by smooth inverse frequency", "steps": step, "hours": spent / 3600}
    finished |= {"teacher_vectors": len(vectors), "recipe": vars(recipe)}
    checkpoint.write_json(out / "embedding.json", finished)
    print(
        "development scores at the end:", evaluate.development(Encoder(rounded(model), tokenizer), shared), flush=True
    )


def save(model: Qwen3, optimizer: torch.optim.Optimizer, step: int, spent: float, path: Path) -> None:
    """Write what is needed to go on, then put it in place of the last one."""
    part = path.with_suffix(".tmp")
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step, "spent": spent}, part)
    part.rename(path)
