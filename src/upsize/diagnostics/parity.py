"""Parity with transformers, an implementation that shares no code with this one, on the same checkpoint and ids.

Its float32 result is the reference. The result of this package must equal it in float32, and be near it in the
precision that is served. Both run one after the other, so memory holds only one float32 copy of the weights at a time.
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from upsize.catalog import Kind
from upsize.catalog.instructions import RERANK_BODY, RERANK_PREFIX, RERANK_SUFFIX
from upsize.compute import LoadedModel, this_machine, work_bytes
from upsize.compute.plan import weight_bytes
from upsize.diagnostics import sample_texts as texts
from upsize.diagnostics.check import Check, Figure, check_figures, log_odds_figures, vector_figures
from upsize.diagnostics.forward import ids_of, normalised_values, values
from upsize.diagnostics.invariants import count_different
from upsize.diagnostics.silence_transformers import silence_transformers
from upsize.errors import MissingExtra
from upsize.model import Checkpoint, RerankPrompts, Truncation
from upsize.model.encoding import encode_pairs, encode_texts
from upsize.model.pooling import Vectors
from upsize.model.tokenizer import Ids

EXACT, SERVED, TOKENS = "transformers, float32", "transformers, served precision", "transformers, token ids"
SPARE = 1.1
"""Factor on the bytes of the weights: loading needs buffers besides. Chosen."""


def parity(model: LoadedModel, reference: Path | None = None) -> list[Check]:
    """The three checks of `model` against transformers on the folder `reference` (default: the model's own).

    They are skipped, with the reason, where transformers is missing or cannot read the checkpoint, and where the
    float32 weights do not fit into free memory.
    """
    checkpoint = model.checkpoint
    folder = reference or checkpoint.folder
    if importlib.util.find_spec("transformers") is None:
        return _skipped(str(MissingExtra("This check", "transformers", "verify")))
    if (reason := _too_large(model)) is not None:
        return _skipped(reason)
    sequences = _sequences(model)
    try:
        theirs = normalised_values(reference_values(folder, checkpoint.kind, sequences, model.plan.device), "float32")
        tokens = check_figures(TOKENS, [Figure("texts with other ids", _other_ids(checkpoint, folder), 0)])
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:  # what transformers raises on loading
        return _skipped(f"transformers cannot run {folder}: {error}".splitlines()[0])
    served = values(model, sequences)
    checks = [check_figures(EXACT, _figures(_exact(model, sequences, served), theirs, "float32"), _note(sequences))]
    if model.plan.precision == "float32":
        checks.append(Check(SERVED, "skipped", note="float32 is what is served"))
    else:
        checks.append(check_figures(SERVED, _figures(served, theirs, model.plan.precision), model.plan.precision))
    return [*checks, tokens]


def reference_values(folder: Path, kind: Kind, sequences: Sequence[Ids], device: str) -> Vectors:
    """Results of transformers in float32, one sequence at a time: hidden states (n, hidden) or log-odds (n,)."""
    torch: Any = importlib.import_module("torch")
    with silence_transformers(), torch.inference_mode():
        network, yes_no = _load(folder, kind)
        network = network.eval().to(device)
        rows = []
        for ids in sequences:
            inputs = torch.from_numpy(ids.astype("int64"))[None].to(device)
            if kind == "embedding":
                rows.append(network(inputs, use_cache=False).last_hidden_state[0, -1])
            elif yes_no is None:
                rows.append(network(inputs, use_cache=False).logits[0, 0])
            else:
                logits = network(inputs, use_cache=False, logits_to_keep=1).logits[0, -1]
                rows.append(logits[yes_no[0]] - logits[yes_no[1]])
        result: Vectors = torch.stack(rows).cpu().numpy()
    del network
    gc.collect()
    return result


def _load(folder: Path, kind: Kind) -> tuple[Any, tuple[int, int] | None]:
    """The transformers model, and the ids of \"yes\" and \"no\" where it gives logits of tokens."""
    transformers: Any = importlib.import_module("transformers")
    yes_no = None
    options: dict[str, Any] = {}
    if kind == "embedding":
        loader = transformers.AutoModel
    elif transformers.AutoConfig.from_pretrained(folder).architectures == ["Qwen3ForSequenceClassification"]:
        loader, options = transformers.AutoModelForSequenceClassification, {"num_labels": 1}
    else:
        loader, tokenizer = transformers.AutoModelForCausalLM, transformers.AutoTokenizer.from_pretrained(folder)
        yes_no = (tokenizer.convert_tokens_to_ids("yes"), tokenizer.convert_tokens_to_ids("no"))
    # Eager attention is the plain formula. Our own network calls the fused kernel.
    network, info = loader.from_pretrained(
        folder, dtype="float32", attn_implementation="eager", output_loading_info=True, **options
    )
    if info["missing_keys"]:
        raise ValueError(
            f"it finds no {', '.join(sorted(info['missing_keys'])[:3])} and would initialise them at random"
        )
    return network, yes_no


def _exact(model: LoadedModel, sequences: Sequence[Ids], served: Vectors) -> Vectors:
    if model.plan.precision == "float32":
        return served
    exact = LoadedModel(model.checkpoint, replace(model.plan, precision="float32", compiled=False))
    return values(exact, sequences)


def _figures(ours: Vectors, theirs: Vectors, precision: str) -> tuple[Figure, ...]:
    return (log_odds_figures if ours.ndim == 1 else vector_figures)(ours, theirs, precision)


def _sequences(model: LoadedModel) -> list[Ids]:
    """All texts as documents; for an embedder also six short ones as queries."""
    sequences = ids_of(model, texts.parity_texts(model.checkpoint.tokenizer))
    if model.checkpoint.kind == "embedding":
        sequences += ids_of(model, texts.SHORT[:6], query=True)
    return sequences


def _note(sequences: Sequence[Ids]) -> str:
    lengths = sorted(map(len, sequences))
    return f"{len(lengths)} texts of {lengths[0]} to {lengths[-1]} tokens"


def _other_ids(checkpoint: Checkpoint, folder: Path) -> int:
    """The number of texts with other ids than transformers' tokenizer gives by the models' published usage."""
    transformers: Any = importlib.import_module("transformers")
    with silence_transformers():
        theirs = transformers.AutoTokenizer.from_pretrained(folder)
        tokenizer, limit, whole = checkpoint.tokenizer, 1 << 30, Truncation()
        if isinstance(checkpoint.prompts, RerankPrompts):
            task = checkpoint.prompts.instruction
            head = RERANK_BODY.format(instruction=task, query=texts.QUERY)
            parts = [(RERANK_PREFIX, head + text, RERANK_SUFFIX) for text in texts.SHORT]
            ours = encode_pairs(tokenizer, task, texts.QUERY, texts.SHORT, limit, whole)
            expected = [[i for p in three for i in theirs.encode(p, add_special_tokens=False)] for three in parts]
        else:
            ours = encode_texts(tokenizer, texts.SHORT, checkpoint.prompts.query, limit, whole)
            expected = [theirs(checkpoint.prompts.query + text)["input_ids"] for text in texts.SHORT]
    return count_different([e.ids for e in ours], expected)


def _too_large(model: LoadedModel) -> str | None:
    """Why the float32 weights do not fit into free memory, or None."""
    checkpoint, device = model.checkpoint, model.plan.device
    need = int(weight_bytes(checkpoint, "float32") * SPARE) + work_bytes(checkpoint.config, 2048)
    free = _free_on(device)
    if need <= free:
        return None
    return f"the float32 weights need {need / 1e9:.1f} GB and {device} has {free / 1e9:.1f} GB free"


def _free_on(device: str) -> int:
    if device == "cpu":
        return this_machine().available
    torch: Any = importlib.import_module("torch")
    return int(torch.cuda.mem_get_info(device)[0])


def _skipped(reason: str) -> list[Check]:
    return [Check(name, "skipped", note=reason) for name in (EXACT, SERVED, TOKENS)]
