"""Settings beside config.json that change what a text becomes: sentence_bert_config.json and tokenizer_config.json.

What can be honoured is (the length, lower case); the rest must say what this project does anyway, or is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from upsize.catalog import Kind
from upsize.errors import CheckpointError, UnsupportedModel
from upsize.model.config import is_there, read_json

_NAMES = ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
TRANSFORMER_FILES = tuple(f"sentence_{name}_config.json" for name in _NAMES)
"""The names under which sentence-transformers looks for its Transformer's settings, in this order."""
TASKS: dict[Kind, tuple[str, ...]] = {
    "embedding": ("feature-extraction",),
    "reranker": ("text-generation", "sequence-classification"),
}
OUTPUTS: dict[Kind, tuple[str, ...]] = {"embedding": ("token_embeddings",), "reranker": ("causal_logits", "scores")}
KNOWN = {
    "max_seq_length",
    "do_lower_case",
    "transformer_task",
    "modality_config",
    "module_output_name",
    "processing_kwargs",
    "unpad_inputs",
}
"""Keys that are read below, and one about padding, which nothing here has."""
ARGUMENTS = {
    "model": {"torch_dtype", "dtype", "attn_implementation", "device_map", "low_cpu_mem_usage", "use_safetensors"},
    "tokenizer": {"padding_side", "use_fast", "model_max_length"},
    "processor": {"padding_side", "use_fast", "model_max_length"},
    "config": set[str](),
}
"""What loads → its arguments that leave a vector as it is, or are read below."""
CHAT_ARGUMENTS = {"add_generation_prompt": (True,), "enable_thinking": (False,), "restore_suffix": (True, False)}
"""Arguments of a chat template with the values that the family's reranker has."""


LEAST = 8
"""Least limit in tokens. Chosen."""


@dataclass(frozen=True)
class TransformerSettings:
    """The settings of these files."""

    longest: int | None = None
    """Limit in tokens; None without one."""
    lowercase: bool = False
    chat_template: Any = None
    """As tokenizer_config.json has it: a text, a list of named ones, or nothing."""
    generation_prompt: bool = False
    """Whether pairs are put into the chat template with what comes before an answer."""


def read_settings(folder: Path) -> TransformerSettings:
    """The settings in a Transformer's folder. UnsupportedModel for those that change vectors and are not honoured."""
    transformer = _transformer_settings(folder)
    tokenizer = _tokenizer_settings(folder)
    path = _transformer_path(folder)
    arguments = {**_arguments(transformer, "tokenizer"), **_arguments(transformer, "processor")}
    lowercase = transformer.get("do_lower_case") or False
    if not isinstance(lowercase, bool):
        raise CheckpointError(path, "true or false for do_lower_case", repr(lowercase)[:80])
    longest = _length(path, arguments, "model_max_length") or _length(path, transformer, "max_seq_length")
    if longest is None:
        longest = _length(folder / "tokenizer_config.json", tokenizer, "model_max_length")
    chat = (transformer.get("processing_kwargs") or {}).get("chat_template") or {}
    return TransformerSettings(
        longest, lowercase, tokenizer.get("chat_template"), chat.get("add_generation_prompt", False)
    )


def check_transformer(folder: Path, kind: Kind) -> None:
    """Refuse a Transformer that is loaded or fed in another way than its kind is."""
    path, raw = _transformer_path(folder), _transformer_settings(folder)
    for name, wanted in (("transformer_task", TASKS[kind]), ("module_output_name", OUTPUTS[kind])):
        if raw.get(name) is not None and raw[name] not in wanted:
            raise UnsupportedModel(path, f"{name} {' or '.join(map(repr, wanted))}", repr(raw[name])[:80])
    modalities = raw.get("modality_config")
    _check_modalities(path, modalities, kind)
    if raw.get("transformer_task") == "text-generation" and modalities is not None and "message" not in modalities:
        raise UnsupportedModel(
            path, "modality message, by which pairs are put into the chat template", ", ".join(modalities) or "none"
        )


def _transformer_path(folder: Path) -> Path:
    return next((folder / name for name in TRANSFORMER_FILES if is_there(folder / name)), folder / TRANSFORMER_FILES[0])


def _transformer_settings(folder: Path) -> dict[str, Any]:
    path = _transformer_path(folder)
    raw = read_json(path, "the settings of a Transformer module") if is_there(path) else {}
    groups = {f"{what}_{suffix}": known for what, known in ARGUMENTS.items() for suffix in ("args", "kwargs")}
    for name, value in raw.items():
        if name in KNOWN or not value:
            continue
        if name not in groups:
            raise UnsupportedModel(path, f"no settings but {', '.join(sorted(KNOWN))}", f"{name} {value!r}"[:80])
        unknown = [key for key in value if key not in groups[name]] if isinstance(value, Mapping) else [value]
        if unknown:
            raise UnsupportedModel(path, f"nothing in {name} that changes a vector", repr(unknown)[:80])
    _check_processing(path, raw.get("processing_kwargs") or {})
    return raw


def _check_processing(path: Path, raw: Any) -> None:
    """Arguments of the tokenizer's calls: none but those of the family's chat template."""
    groups = raw if isinstance(raw, Mapping) else {"processing_kwargs": raw}
    for name, arguments in groups.items():
        if not arguments:
            continue
        fits = name == "chat_template" and isinstance(arguments, Mapping)
        if not fits or any(value not in CHAT_ARGUMENTS.get(key, ()) for key, value in arguments.items()):
            raise UnsupportedModel(path, "no processing_kwargs that change a text", f"{name} {arguments!r}"[:80])


def _check_modalities(path: Path, raw: Any, kind: Kind) -> None:
    """Texts of an embedder are fed as they are; one with a `message` modality would put them into a chat template."""
    if raw is None:
        return
    wanted = {"text"} if kind == "embedding" else {"text", "message"}
    output = "last_hidden_state" if kind == "embedding" else "logits"
    if not isinstance(raw, Mapping) or not set(raw) <= wanted:
        raise UnsupportedModel(path, f"no modality but {', '.join(sorted(wanted))}", repr(raw)[:80])
    for name, way in raw.items():
        if not isinstance(way, Mapping) or (way.get("method"), way.get("method_output_name")) != ("forward", output):
            raise UnsupportedModel(path, f"modality {name} by forward and {output}", repr(way)[:80])


def _tokenizer_settings(folder: Path) -> dict[str, Any]:
    path = folder / "tokenizer_config.json"
    raw = read_json(path, "the tokenizer's settings") if is_there(path) else {}
    for name in ("add_prefix_space", "split_special_tokens"):
        if raw.get(name):
            raise UnsupportedModel(path, f"{name} false, as the whole family has", repr(raw[name])[:80])
    return raw


def _arguments(raw: dict[str, Any], what: str) -> dict[str, Any]:
    found: dict[str, Any] = {**(raw.get(f"{what}_args") or {}), **(raw.get(f"{what}_kwargs") or {})}
    return found


def _length(path: Path, raw: Mapping[str, Any], name: str) -> int | None:
    """A number of tokens; transformers writes 10³⁰ where there is no limit."""
    value = raw.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= LEAST:
        raise CheckpointError(path, f"a number of tokens for {name!r}, {LEAST} or more", repr(value)[:80])
    return int(min(value, 1 << 40))
