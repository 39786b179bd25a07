"""Trains the yes/no reranker: right documents against near misses and random ones.

It starts from the token vectors learned for demo-m and a lexical matcher built by hand (matching_start.py); near misses
are what the token vectors of demo-xs rank near the right document.

The documents of one query are packed behind one copy of the prefix and query: each document sees the shared start
and itself, with the positions it would have alone, so the scores are those of separate sequences for less work.
"""

import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional as F

from . import bag, checkpoint, evaluate, matching_start
from .bag import BagEncoder
from .batches import Encoder, TokenizedTexts
from .network import SIZES, Qwen3, Size, load
from .prompts import DEFAULT_TASK, RERANK_PREFIX, RERANK_SUFFIX, rerank_body
from .rows import TASKS
from .tokenizer import END, train
from .train_embedding import rounded, save


@dataclass(frozen=True)
class RerankerRecipe:
    """How long and how to train."""

    size: str = "rerank"
    queries: int = 10  # queries of a batch, each with one right document
    hard: int = 3  # documents that token vectors rank near the right one
    easy: int = 1  # documents at random
    learning_rate: float = 4e-4
    warmup: int = 40
    document_tokens: int = 160
    seed: int = 20
    threads: int = 1


class Template:
    """Token ids of the reranker's prompt around query and document."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.suffix = self.ids(RERANK_SUFFIX)
        self.end = tokenizer.token_to_id(END)
        self.yes, self.no = self.ids("yes")[0], self.ids("no")[0]

    def ids(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def start(self, task: str, query: str) -> list[int]:
        """Everything up to and including "<Document>:"; the space after it belongs to the document's first token."""
        return self.ids(RERANK_PREFIX + rerank_body(task, query, "").rstrip(" "))

    def document(self, text: str, limit: int) -> list[int]:
        """The document's ids with its leading space, cut to `limit`."""
        return self.ids(f" {text}")[:limit]


def pack(template: Template, groups: list[tuple[list[int], list[list[int]]]]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Queries with as many documents each, as the (ids, at, positions, mask) of `Qwen3.forward`."""
    rows = []
    for start, documents in groups:
        ids, positions, segments, ends = list(start), list(range(len(start))), [0] * len(start), []
        for number, document in enumerate(documents, 1):
            part = document + template.suffix
            ids += part
            positions += range(len(start), len(start) + len(part))
            segments += [number] * len(part)
            ends.append(len(ids) - 1)
        rows.append((ids, positions, segments, ends))
    length = max(len(ids) for ids, *_ in rows)
    filled = [torch.full((len(rows), length), value) for value in (template.end, 0, -1)]
    for index, row in enumerate(rows):
        for tensor, values in zip(filled, row[:3], strict=True):
            tensor[index, : len(values)] = torch.tensor(values)
    ids, positions, segments = filled
    same = (segments[:, :, None] == segments[:, None]) | (segments[:, None] == 0)
    mask = (same & torch.ones(length, length, dtype=torch.bool).tril())[:, None]
    return ids, torch.tensor([row[3] for row in rows]), positions, mask


class TrainedReranker:
    """Scores (query, document) pairs: logit of "yes" minus logit of "no"."""

    def __init__(self, model: Qwen3, tokenizer: Tokenizer, limit: int = 512) -> None:
        self.model, self.template, self.limit = model, Template(tokenizer), limit

    def scores(self, batch: tuple[Tensor, Tensor, Tensor, Tensor]) -> Tensor:
        """Log-odds (queries, documents) of a packed batch."""
        head = self.model.embed_tokens.weight
        return self.model(*batch) @ (head[self.template.yes] - head[self.template.no])

    @torch.inference_mode()
    def score(self, query: str, documents: list[str], task: str = DEFAULT_TASK) -> np.ndarray:
        """Log-odds (len(documents),) of documents for one query."""
        start = self.template.start(task, query)
        ids = [self.template.document(document, self.limit) for document in documents]
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        result = np.empty(len(ids), dtype=np.float32)
        for first in range(0, len(order), 5):
            part = order[first : first + 5]
            result[part] = self.scores(pack(self.template, [(start, [ids[i] for i in part])]))[0].numpy()
        return result


class Groups:
    """Training queries, each with its right document first, then near misses, then random ones."""

    def __init__(self, out: Path, tokenizer: Tokenizer, recipe: RerankerRecipe) -> None:
        self.template, self.recipe = Template(tokenizer), recipe
        self.encoder = BagEncoder(out, "xs", tokenizer)
        self.rng = np.random.default_rng(recipe.seed)
        self.pairs: dict[str, list[dict]] = {"en": [], "zh": []}
        with (out / "pairs.jsonl").open(encoding="utf-8") as lines:
            for row in map(json.loads, lines):
                rarely = {"nl2bash": 0.3, "tldr": 0.15, "oewn": 0.15, "thealgorithms": 0.5}.get(row["source"], 1.0)
                if row["lang"] in self.pairs and self.rng.random() < rarely:
                    self.pairs[row["lang"]].append(row)
        self.sentences: dict[str, list[str]] = {"en": [], "zh": []}
        self.english: list[str] = []
        with (out / "distil.jsonl").open(encoding="utf-8") as lines:
            for row in map(json.loads, lines):
                share = {"tatoeba": 1, "sib200": 1, "wiki-split": 1, "security-101": 1, "python-docs": 0.2}
                wanted = row["lang"] in self.sentences and 12 <= len(row["text"]) <= 200
                if wanted and self.rng.random() < share.get(row["source"], 0):
                    self.sentences[row["lang"]].append(row["text"])
                    if row["lang"] == "zh":
                        self.english.append(row["english"])
        print({f"{lang} pairs": len(rows) for lang, rows in self.pairs.items()}, flush=True)
        print({f"{lang} sentences": len(rows) for lang, rows in self.sentences.items()}, flush=True)

    def made_up(self, lang: str, count: int) -> list[tuple[str, str, str]]:
        """(task, query, passage): a piece of one of the sentences of a passage put together at random."""
        rows, rng, joint = self.sentences[lang], self.rng, "" if lang == "zh" else " "
        result = []
        for _ in range(count):
            chosen = rng.choice(len(rows), rng.integers(2, 5), replace=False)
            sentence = rows[chosen[int(rng.integers(len(chosen)))]]
            if lang == "zh" and rng.random() < 0.15:
                sentence = self.english[chosen[int(rng.integers(len(chosen)))]]
            result.append((DEFAULT_TASK, self.piece(sentence), joint.join(rows[i] for i in chosen)))
        return result

    def piece(self, text: str) -> str:
        """A run of words (or of characters, in Chinese) of a text, about a third of it or more."""
        words = text.split(" ") if " " in text.strip() else list(text)
        length = min(len(words), max(int(len(words) * self.rng.uniform(0.3, 0.9)), 4))
        start = int(self.rng.integers(0, len(words) - length + 1))
        return ("" if len(words) == len(text) else " ").join(words[start : start + length])

    def chunk(self, lang: str, count: int) -> list[tuple[str, str, str]]:
        """(task, query, passage) rows: written pairs, pieces of passages and made-up passages."""
        rows, result, longest = self.pairs[lang], [], {"en": 550, "zh": 200}[lang]
        for index in self.rng.choice(len(rows), count // 2):
            row = rows[index]
            passage = row["passage"][: int(longest * self.rng.uniform(0.4, 1))]  # short ones are cheap
            if self.rng.random() < 0.3 and len(passage) > 80:
                start = int(self.rng.integers(0, len(passage) - 60))
                result.append((DEFAULT_TASK, self.piece(passage[start : start + 60].strip()), passage))
            else:
                result.append((TASKS.get(row["source"], DEFAULT_TASK), row["query"], passage))
        return result + self.made_up(lang, count - len(result))

    def draw(self, count: int = 800) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Packed batches; the near misses come from the other passages of the drawn chunk, ranked by token vectors."""
        recipe, groups = self.recipe, []
        for lang in ("en", "zh"):
            rows = self.chunk(lang, count // 2)
            queries = self.encoder.encode([query for _, query, _ in rows])
            passages = self.encoder.encode([passage[:500] for _, _, passage in rows])
            scores = queries @ passages.T
            for index, (task, query, passage) in enumerate(rows):
                near = [
                    int(i)
                    for i in np.argsort(-scores[index])[:30]
                    if rows[i][1] != query and rows[i][2] != passage and query not in rows[i][2]
                ][:15]
                hard = self.rng.choice(near, recipe.hard, replace=False)
                easy = self.rng.choice(len(rows), recipe.easy)
                texts = [passage] + [rows[i][2] for i in (*hard, *easy)]
                documents = [self.template.document(text, recipe.document_tokens) for text in texts]
                groups.append((self.template.start(task, query)[:200], documents))
        order = sorted(range(len(groups)), key=lambda i: sum(map(len, groups[i][1])))
        batches = [order[i : i + recipe.queries] for i in range(0, len(order), recipe.queries)]
        for number in self.rng.permutation(len(batches)):
            yield pack(self.template, [groups[i] for i in batches[number]])


def started(groups: Groups, tokenizer: Tokenizer, tokens: Tensor, size: Size) -> Qwen3:
    """The model built by hand, its log-odds put on a fair scale by a logistic fit to some training groups."""
    passages = [row["passage"] for rows in groups.pairs.values() for row in rows[:20_000]]
    texts = TokenizedTexts(passages, tokenizer, 256)
    frequencies = matching_start.inverse_frequencies(list(map(texts.__getitem__, range(len(texts)))), size.vocabulary)
    template = groups.template
    marks = tokenizer.token_to_id("<Query"), tokenizer.token_to_id("<Document")
    model = matching_start.build(size, tokens, frequencies, marks, (template.yes, template.no))
    head = model.embed_tokens.weight
    with torch.no_grad():
        states = torch.cat([model(*batch) for batch, _ in zip(groups.draw(), range(20), strict=False)])
        scores = states @ (head[template.yes] - head[template.no])
        labels = torch.zeros_like(scores, dtype=torch.long)
        labels[:, 0] = 1
        fit = LogisticRegression(class_weight="balanced").fit(scores.reshape(-1, 1).numpy(), labels.reshape(-1).numpy())
        slope, offset = float(fit.coef_[0, 0]), float(fit.intercept_[0])
        constant = float(states[..., matching_start.CONSTANT].mean())
        for row, sign in ((template.yes, 1), (template.no, -1)):
            head[row, matching_start.SCORE] *= slope
            head[row, matching_start.CONSTANT] = sign * offset / (2 * constant)
    print(f"built by hand: right first {(scores.argmax(1) == 0).float().mean():.3f}, slope {slope:.3f}", flush=True)
    return model


def loss_of(scores: Tensor) -> Tensor:
    """Softmax over each query's documents plus yes/no cross-entropy of each document; the first one is right."""
    labels = torch.zeros_like(scores)
    labels[:, 0] = 1
    weight = torch.where(labels > 0, scores.shape[1] / 2, scores.shape[1] / (2 * (scores.shape[1] - 1)))
    listwise = F.cross_entropy(scores, torch.zeros(len(scores), dtype=torch.long))
    return listwise + 0.5 * F.binary_cross_entropy_with_logits(scores, labels, weight=weight)


def run(shared: Path, out: Path, embedder: Path, folder: Path, recipe: RerankerRecipe, minutes: float) -> None:
    """Train for `minutes`, resuming from `out/rerank.pt`, and write the checkpoint into `folder` as it goes.

    `embedder` is the folder of demo-xs, whose ranking the development scores start from.
    """
    torch.set_num_threads(recipe.threads)
    torch.manual_seed(recipe.seed)
    tokenizer = train(out)
    encoder = Encoder(load(embedder, SIZES["xs"]), tokenizer)
    groups = Groups(out, tokenizer, recipe)
    state_path, step, spent = out / "rerank.pt", 0, 0.0
    if state_path.exists():
        model = Qwen3(SIZES[recipe.size])
    else:
        model = started(groups, tokenizer, bag.stored(out, "m")[0], SIZES[recipe.size])
        checkpoint.write(rounded(model), tokenizer, folder, reranker=True)
    decayed = [p for p in model.parameters() if p.dim() == 2]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.01}, {"params": [p for p in model.parameters() if p.dim() == 1]}],
        lr=recipe.learning_rate,
        betas=(0.9, 0.98),
        weight_decay=0.0,
        fused=True,
    )
    if state_path.exists():
        state = torch.load(state_path, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        step, spent = state["step"], state["spent"]
    groups.rng = np.random.default_rng(recipe.seed + step)
    head, template = model.embed_tokens.weight, groups.template
    stream, losses, right = groups.draw(), [], []
    before, began = spent, time.monotonic()
    last_report = last_save = began
    while (progress := spent / (60 * minutes)) < 1:
        item = next(stream, None)
        if item is None:
            stream = groups.draw()
            item = next(stream)
        rate = recipe.learning_rate * min(
            (step + 1) / recipe.warmup, 0.02 + 0.98 * (1 + math.cos(math.pi * progress)) / 2
        )
        for group in optimizer.param_groups:
            group["lr"] = rate
        scores = model(*item) @ (head[template.yes] - head[template.no])
        loss = loss_of(scores)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        right.append((scores.argmax(1) == 0).float().mean().item())
        step += 1
        now = time.monotonic()
        spent = before + now - began
        if now - last_report > 60:
            mean, hits = np.mean(losses[-100:]), np.mean(right[-100:])
            print(f"step {step}, {100 * progress:.1f} %, loss {mean:.4f}, right first {hits:.3f}", flush=True)
            last_report = now
        if now - last_save > 300:
            save(model, optimizer, step, spent, state_path)
            checkpoint.write(rounded(model), tokenizer, folder, reranker=True)
            last_save = last_report = time.monotonic()
    save(model, optimizer, step, spent, state_path)
    copy = rounded(model)
    checkpoint.write(copy, tokenizer, folder, reranker=True)
    start = "the token vectors learned for demo-m and a lexical matcher built by hand"
    finished = {"starts_from": start, "steps": step, "hours": round(spent / 3600, 3), "recipe": vars(recipe)}
    checkpoint.write_json(out / "rerank.json", finished)
    print("at the end:", evaluate.development_rerank(TrainedReranker(copy, tokenizer), encoder, shared), flush=True)
