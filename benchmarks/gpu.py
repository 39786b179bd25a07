"""Tokens per second and milliseconds on a GPU, beside its own bare products and transformers' padded path.

    python -m benchmarks.gpu 0.6b 4b 8b --work WORK          # real shapes, random weights made on the spot
    python -m benchmarks.gpu 0.6b --precisions bfloat16 --no-transformers

Speed does not depend on the weights' values, so none are read from disk. WORK holds passages.jsonl, a line an object
with its `ids`; without it texts are drawn. MFU: operations of products and attention (causal: half the square) over
those that the GPU does in bare bfloat16 products in the same run.
"""

from __future__ import annotations

import argparse
import gc
import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate
from math import prod
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from benchmarks.common import RESULTS, write
from benchmarks.engines import batches
from upsize.catalog import FAMILY
from upsize.compute.network import run_to_end
from upsize.compute.plan import CUDA_BUDGET, FP8, PRECISIONS, ExecutionPlan, work_bytes
from upsize.compute.pytorch import TorchNetwork, tensor
from upsize.compute.pytorch.fp8 import Fp8Linear
from upsize.compute.quantization_fidelity import centred_cosine
from upsize.diagnostics.random_models import config_of, random_weights
from upsize.model.config import ModelConfig
from upsize.model.tokenizer import Ids
from upsize.model.weights import expected_shapes

LENGTHS = 32, 128, 512, 2048
QUERY, PAIR, LONG = 27, 280, 32768
"""Tokens of the one query, of a rerank pair, of a long text."""
BATCH_SIZES = 16, 64, 256
"""Of transformers; the best counts."""
REPEATED = 20
"""Products between two looks at the clock."""
LIMIT_SHAPES = ((8192, 8192, 8192), (16384, 4096, 6144), (16384, 2560, 19456))
"""Rows, inputs, outputs."""


def limit(seconds: float) -> dict[str, float]:
    """Bare products of random numbers, in TFLOP/s: the best shape's median."""
    rates = {"bfloat16": 0.0, FP8: 0.0}
    for rows, inputs, outputs in LIMIT_SHAPES:
        x, w = (torch.randn(n, inputs, device="cuda").bfloat16() for n in (rows, outputs))
        products: dict[str, Callable[[], object]] = {"bfloat16": partial(torch.nn.functional.linear, x, w)}
        if torch.cuda.get_device_capability() >= (8, 9):
            products[FP8] = Fp8Linear(w).bind(x)
        for name, product in products.items():
            spent = median(_times(partial(_repeated, product), seconds)) / REPEATED
            rates[name] = max(rates[name], 2 * rows * inputs * outputs / spent / 1e12)
    return rates


def _repeated(product: Callable[[], object]) -> None:
    """So often that launching it costs nothing."""
    for _ in range(REPEATED):
        product()
    torch.cuda.synchronize()


def _times(f: Callable[[], object], seconds: float) -> list[float]:
    """Of as many runs as take so long, at least 3, after two that wake everything."""
    f(), f()
    times: list[float] = []
    while sum(times) < seconds or len(times) < 3:
        started = time.perf_counter()
        f()
        times.append(time.perf_counter() - started)
    return times


class ShapeNetwork:
    """A shape in a precision, run as the engine runs it: packed batches of the plan's budget, states on the host."""

    def __init__(self, config: ModelConfig, precision: str) -> None:
        shapes = expected_shapes(config)
        vectors = prod(shapes["embed_tokens.weight"])
        others = sum(map(prod, shapes.values())) - vectors
        self.weights = 2 * vectors + others * (1 if precision == FP8 else PRECISIONS[precision])
        self.work = work_bytes(config, CUDA_BUDGET, "cuda"), work_bytes(config, LONG, "cuda")
        self.config = config
        plan = ExecutionPlan("cuda", precision, LONG, CUDA_BUDGET, self.weights, self.work[1])
        self._network = TorchNetwork(config, lambda name: random_weights(shapes[name]), plan, False, 1)

    def __call__(self, texts: Sequence[Ids]) -> np.ndarray[Any, Any]:
        """States of one batch."""
        return run_to_end(self._network.forward(np.concatenate(texts), [0, *accumulate(map(len, texts))]))

    def operations(self, texts: Sequence[Ids]) -> float:
        """Of products and attention; in the last layer all but keys and values is of last rows alone."""
        c, tokens = self.config, sum(map(len, texts))
        shapes = expected_shapes(c)
        layer = 2 * sum(prod(s) for n, s in shapes.items() if n.startswith("layers.0.") and n.endswith("_proj.weight"))
        qkv = 2 * c.hidden_size * (c.heads + 2 * c.kv_heads) * c.head_dim
        pairs = sum(len(t) ** 2 / 2 for t in texts)
        attention = 4 * pairs * c.heads * c.head_dim
        return tokens * (layer * (c.layers - 1) + qkv) + attention * (c.layers - 1)


def measure(
    sizes: Sequence[str],
    *,
    precisions: Sequence[str] = ("bfloat16", FP8),
    work: Path | None = None,
    transformers: bool = True,
    seconds: float = 1.0,
    folder: Path = RESULTS,
) -> Path:
    """Measure each size in each precision."""
    found: dict[str, Any] = {}
    texts = _passages(work)
    with tqdm(total=len(sizes) * (len(precisions) + transformers), unit="model") as bar:
        best = limit(seconds)
        for size in sizes:
            member = next(m for m in FAMILY if m.size == size.upper() and m.kind == "embedding")
            config = config_of(member)
            figures: dict[str, Any] = {}
            states: dict[str, Any] = {}
            for precision in precisions:
                bar.set_description(f"{size} {precision}")
                figures[precision], states[precision] = _ours(
                    config, precision, texts, best["bfloat16"] * 1e12, seconds
                )
                _free()
                bar.update()
            if transformers:
                bar.set_description(f"{size} transformers")
                figures["transformers"], exact = _theirs(config, texts, seconds)
                for precision in precisions:
                    figures[precision]["centred_cosine"] = round(centred_cosine(states[precision], exact), 5)
                figures["transformers"]["centred_cosine"] = round(
                    centred_cosine(figures["transformers"].pop("states"), exact), 5
                )
                _free()
                bar.update()
            found[size] = figures
            path = _write(best, found, folder)
    return path


def _write(best: dict[str, float], found: dict[str, Any], folder: Path) -> Path:
    """What is known after each size."""
    name = torch.cuda.get_device_name().removeprefix("NVIDIA ").split(" ")[0].lower()
    limit = {precision: round(rate, 1) for precision, rate in best.items()}
    return write(f"gpu-{name}", {"cuda": torch.version.cuda, "limit_tflops": limit, "sizes": found}, folder)


def _ours(
    config: ModelConfig, precision: str, passages: Sequence[Ids], limit: float, seconds: float
) -> tuple[dict[str, Any], np.ndarray[Any, Any]]:
    """Figures of our network, and states of the first passages."""
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    network, found = ShapeNetwork(config, precision), {}
    rng = np.random.default_rng(0)

    def drawn(count: int, tokens: int) -> list[Ids]:
        return [rng.integers(0, config.vocab_size, tokens).astype(np.int32) for _ in range(count)]

    weights = torch.cuda.memory_allocated() - before
    for tokens in LENGTHS:
        texts = drawn(CUDA_BUDGET // tokens, tokens)
        found[f"texts_of_{tokens}"] = _throughput(network, texts, [texts], limit, seconds)
    found["passages"] = _throughput(network, passages, batches(passages, CUDA_BUDGET), limit, seconds)
    pairs = drawn(CUDA_BUDGET // PAIR, PAIR)
    found["pairs"] = _throughput(network, pairs, [pairs], limit, seconds)
    found["pairs"]["pairs_per_second"] = round(len(pairs) / found["pairs"]["seconds"], 1)
    query = drawn(1, QUERY)
    times = _times(partial(network, query), seconds)
    found["one_query"] = {"n": len(times), "p50_ms": round(1e3 * median(times), 2)}
    found["one_query"]["p99_ms"] = round(1e3 * float(np.quantile(times, 0.99)), 2)
    memory = {"weights": weights, "weights_estimated": network.weights}
    memory |= {"batches": torch.cuda.max_memory_allocated() - before}
    memory |= {"batches_estimated": network.weights + network.work[0]}
    torch.cuda.reset_peak_memory_stats()
    long = drawn(1, LONG)
    found["long_text"] = _throughput(network, long, [long], limit, 0.0) | {"tokens": LONG}
    memory |= {"long_text": torch.cuda.max_memory_allocated() - before}
    memory |= {"long_text_estimated": network.weights + network.work[1]}
    found["memory_gb"] = {name: round(value / 1e9, 3) for name, value in memory.items()}
    states = network(passages[:16])
    return found, states


def _free() -> None:
    """What no name holds."""
    gc.collect()
    torch.cuda.empty_cache()


def _throughput(
    network: ShapeNetwork, texts: Sequence[Ids], split: Sequence[Sequence[Ids]], limit: float, seconds: float
) -> dict[str, Any]:
    spent = median(_times(lambda: [network(batch) for batch in split], seconds))
    tokens, operations = sum(map(len, texts)), sum(map(network.operations, split))
    return {
        "texts": len(texts),
        "tokens": tokens,
        "seconds": round(spent, 5),
        "tokens_per_second": round(tokens / spent),
        "mfu": round(operations / spent / limit, 3),
    }


def _theirs(
    config: ModelConfig, passages: Sequence[Ids], seconds: float
) -> tuple[dict[str, Any], np.ndarray[Any, Any]]:
    """transformers in bfloat16 on left-padded batches, sorted by length, with states of the first passages; and the
    states that it gives in float32."""
    from transformers import Qwen3Config, Qwen3Model

    told = Qwen3Config(
        vocab_size=config.vocab_size,
        hidden_size=config.hidden_size,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.kv_heads,
        head_dim=config.head_dim,
        intermediate_size=config.intermediate_size,
        max_position_embeddings=config.max_positions,
        rms_norm_eps=config.norm_eps,
        rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta},
        use_cache=False,
    )
    with torch.device("cuda"):
        model = Qwen3Model(told).bfloat16().eval()  # type: ignore[no-untyped-call]
    state = model.state_dict()
    for name, shape in expected_shapes(config).items():
        state[name].copy_(tensor(random_weights(shape)))

    @torch.inference_mode()
    def run(texts: Sequence[Ids]) -> np.ndarray[Any, Any]:
        width = max(map(len, texts))
        ids, mask = (torch.zeros(len(texts), width, dtype=torch.int64) for _ in range(2))
        for row, text in enumerate(texts):
            ids[row, width - len(text) :], mask[row, width - len(text) :] = torch.from_numpy(text), 1
        out = model(input_ids=ids.cuda(), attention_mask=mask.cuda(), use_cache=False)
        states: np.ndarray[Any, Any] = out.last_hidden_state[:, -1].float().cpu().numpy()
        return states

    ordered = sorted(passages, key=len)
    best: dict[str, Any] = {"tokens_per_second": 0.0}
    for size in BATCH_SIZES:
        split = [ordered[i : i + size] for i in range(0, len(ordered), size)]
        spent = median(_times(lambda: [run(b) for b in split], seconds))  # noqa: B023
        rate = sum(map(len, passages)) / spent
        if rate > best["tokens_per_second"]:
            best = {"batch_size": size, "tokens_per_second": round(rate)}
    query = [np.arange(QUERY, dtype=np.int32)]
    best["one_query_p50_ms"] = round(1e3 * median(_times(lambda: run(query), seconds)), 2)
    best["states"] = run(passages[:16])
    model.float()
    exact = run(passages[:16])
    return best, exact


def _passages(work: Path | None, count: int = 256) -> list[Ids]:
    """So many texts: those of WORK, then the same from later tokens on; or drawn, 50 to 500 tokens long."""
    if work is None:
        rng = np.random.default_rng(1)
        return [rng.integers(0, 150_000, rng.integers(50, 500)).astype(np.int32) for _ in range(count)]
    lines = (work / "passages.jsonl").read_text(encoding="utf-8").splitlines()
    texts = [np.array(json.loads(line)["ids"], np.int32) for line in lines]
    return [np.roll(texts[i % len(texts)], -(i // len(texts)) * 7) for i in range(count)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", nargs="+", choices=["0.6b", "4b", "8b"])
    parser.add_argument("--precisions", nargs="+", default=["bfloat16", FP8])
    parser.add_argument("--work", type=Path)
    parser.add_argument("--no-transformers", action="store_true")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement")
    given = parser.parse_args()
    measure(
        given.sizes,
        precisions=given.precisions,
        work=given.work,
        transformers=not given.no_transformers,
        seconds=given.seconds,
    )
