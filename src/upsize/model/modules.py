"""modules.json of sentence-transformers, followed as that library follows it: it names each module and the folder of
its configuration. What this project does not compute is refused, never passed over.

Formats: sentence-transformers 2 to 6.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from upsize.errors import CheckpointError, UnsupportedModel
from upsize.model.config import ModelConfig, is_there, read_json, read_value

log = logging.getLogger(__name__)

FILE = "modules.json"
MODULES = ("Transformer", "Pooling", "Normalize", "Dropout")
"""Modules that an embedder may have; the last does nothing outside training."""
SCORING = ("Transformer", "LogitScore", "Dropout")
"""Modules that a reranker may have."""
LEGACY_MODES = "pooling_mode_"
MOST = 32
"""Most modules in one file. Chosen."""


@dataclass(frozen=True)
class Module:
    """One entry of modules.json."""

    type: str
    """Last part of its class: `Pooling`."""
    whole_type: str
    folder: Path | None
    """The folder of its configuration; None if the file names no path, which sentence-transformers never writes."""


@dataclass(frozen=True)
class ScoreTokens:
    """The tokens whose logits make a score: the first's less the second's."""

    true: int
    false: int


def read_modules(folder: Path) -> tuple[Module, ...]:
    """Return the modules of modules.json in order; empty without the file."""
    path = folder / FILE
    if not is_there(path):
        return ()
    value = read_value(path, "the list of sentence-transformers modules")
    if not isinstance(value, list) or not 0 < len(value) <= MOST:
        found = f"a JSON {type(value).__name__}" + (f" of {len(value)}" if isinstance(value, list) else "")
        raise UnsupportedModel(path, f"the list of sentence-transformers modules, 1 to {MOST}", found)
    modules = tuple(_module(path, entry) for entry in value)
    names = [str(entry["name"]) for entry in value if "name" in entry]
    if len(set(names)) < len(names):  # the library keeps the last of a name
        raise UnsupportedModel(path, "modules of different names", ", ".join(names))
    if modules[0].type != "Transformer" or any(m.type == "Transformer" for m in modules[1:]):
        raise UnsupportedModel(path, "one Transformer, and that first", ", ".join(m.type for m in modules))
    return modules


def _module(path: Path, entry: Any) -> Module:
    if not isinstance(entry, dict) or not isinstance(entry.get("type"), str):
        raise UnsupportedModel(path, "modules with a type", repr(entry)[:80])
    whole = entry["type"]
    name = entry.get("path")
    if name is None:
        return Module(whole.rsplit(".", 1)[-1], whole, None)
    if not isinstance(name, str) or os.path.isabs(name) or os.path.normpath(name).startswith(".."):  # noqa: PTH117
        raise UnsupportedModel(path, "paths of modules within the model's folder", repr(name)[:80])
    return Module(whole.rsplit(".", 1)[-1], whole, path.parent / name)


def transformer_folder(folder: Path, modules: Sequence[Module]) -> Path:
    """Return the folder of config.json, tokenizer and weights: the model's, or one that modules.json names."""
    return modules[0].folder or folder if modules else folder


def check_embedder(folder: Path, modules: Sequence[Module], config: ModelConfig, similarity: object) -> None:
    """Refuse an embedder whose vector is not the last token's hidden state, normalised.."""
    path = folder / FILE
    _require_known(path, modules, MODULES)
    poolings = [module for module in modules if module.type == "Pooling"]
    if modules and len(poolings) != 1:
        raise UnsupportedModel(path, "one Pooling module", f"{len(poolings) or 'none'}")
    for pooling in poolings:
        _check_pooling_at(pooling.folder, folder, config.hidden_size)
    usual = folder / "1_Pooling" / "config.json"
    if not modules and is_there(usual):
        check_pooling(usual, config.hidden_size)
    elif not modules and not config.architecture.endswith("ForCausalLM"):
        log.warning(
            "%s has no %s: vectors are of the last token, as the whole family's; sentence-transformers would take the "
            "mean for %s",
            folder,
            FILE,
            config.architecture,
        )
    for module in modules[: modules.index(poolings[0])] if poolings else ():
        if module.type == "Normalize":
            raise UnsupportedModel(path, "Normalize after the Pooling", "Normalize before it")
    normalized = [module for module in modules if module.type == "Normalize"]
    for module in normalized:
        if module.folder not in (None, folder):
            _check_normalize(module.folder / "config.json")
    if modules and not normalized and similarity not in (None, "cosine"):
        raise UnsupportedModel(
            path,
            "a Normalize module, since vectors are given with length 1",
            f"none, and similarity_fn_name {similarity!r}, by which other texts would rank first",
        )


def _check_pooling_at(named: Path | None, folder: Path, hidden_size: int) -> None:
    if named is not None:
        check_pooling(named / "config.json", hidden_size)
    elif is_there(usual := folder / "1_Pooling" / "config.json"):
        check_pooling(usual, hidden_size)
    else:
        log.warning("%s names no path for its Pooling: it is taken for the last token's", folder / FILE)


def check_pooling(path: Path, hidden_size: int) -> None:
    """Refuse a pooling that is not the family's: last token, prompt included."""
    raw = read_json(path, "the pooling's configuration")
    modes = _pooling_modes(path, raw)
    if modes not in (["lasttoken"], [f"{LEGACY_MODES}lasttoken"]):
        found = ", ".join(modes) or "no mode, which sentence-transformers reads as mean"
        raise UnsupportedModel(path, "last-token pooling", found)
    if raw.get("include_prompt", True) is not True:
        raise UnsupportedModel(path, "include_prompt true, as the whole family has", repr(raw["include_prompt"])[:80])
    for name in ("embedding_dimension", "word_embedding_dimension"):
        if raw.get(name, hidden_size) != hidden_size:
            raise UnsupportedModel(path, f"{name} {hidden_size}, as config.json says", repr(raw[name])[:80])


def _pooling_modes(path: Path, raw: dict[str, Any]) -> list[str]:
    """Names of the modes, as the file writes them: one key of today, or flags of before. None is mean."""
    if "pooling_mode" not in raw:
        return [name for name, value in raw.items() if name.startswith(LEGACY_MODES) and value]
    modes = raw["pooling_mode"]
    modes = [modes] if isinstance(modes, str) else modes
    if not isinstance(modes, list) or not all(isinstance(mode, str) for mode in modes):
        raise UnsupportedModel(path, "last-token pooling", f"pooling_mode {modes!r}"[:80])
    return modes


def _check_normalize(path: Path) -> None:
    if not is_there(path):
        return
    raw = read_json(path, "the configuration of Normalize")
    for name in ("module_input_name", "module_output_name"):
        if raw.get(name) not in (None, "sentence_embedding"):
            raise UnsupportedModel(path, f"{name} 'sentence_embedding'", repr(raw[name])[:80])


def check_reranker(folder: Path, modules: Sequence[Module], vocabulary: int, scored: bool) -> ScoreTokens | None:
    """Refuse a reranker that does not score by two logits. The tokens that its files name, below `vocabulary`; None
    where they name none. `scored` says whether the weights have a scoring head of their own."""
    path = folder / FILE
    _require_known(path, modules, SCORING)
    scores = [module for module in modules if module.type == "LogitScore"]
    if len(scores) > 1 or (scores and scored):
        found = "score.weight besides it" if scored else f"{len(scores)}"
        raise UnsupportedModel(path, "one LogitScore module at most, and no other head", found)
    if not scores:
        return None
    named = scores[0].folder
    if named is None:
        log.warning("%s names no path for its LogitScore: its tokens are taken for yes and no", path)
        return None
    return _score_tokens(named / "config.json", vocabulary)


def _score_tokens(path: Path, vocabulary: int) -> ScoreTokens:
    raw = read_json(path, "the configuration of LogitScore")
    if raw.get("module_input_name", "causal_logits") != "causal_logits":
        raise UnsupportedModel(path, "module_input_name 'causal_logits'", repr(raw["module_input_name"])[:80])
    found = []
    for name in ("true_token_id", "false_token_id"):
        value = raw.get(name)
        if name == "false_token_id" and value is None:
            raise UnsupportedModel(path, "a false_token_id, since a score is the odds of two tokens", "none")
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < vocabulary:
            raise CheckpointError(path, f"a token id below {vocabulary:,} for {name!r}", repr(value)[:80])
        found.append(value)
    if found[0] == found[1]:
        raise UnsupportedModel(path, "two different tokens", f"{found[0]} twice")
    return ScoreTokens(*found)


def _require_known(path: Path, modules: Sequence[Module], known: Sequence[str]) -> None:
    for module in modules:
        if module.type not in known or not module.whole_type.startswith("sentence_transformers."):
            name = module.type if module.type not in known else module.whole_type
            raise UnsupportedModel(path, f"no module but {', '.join(known)}, as the whole family has", name[:80])
