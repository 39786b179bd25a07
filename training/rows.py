"""The training rows as token ids, with how often each is drawn."""

import json
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from .batches import TokenizedTexts
from .prompts import DEFAULT_TASK, SYMMETRIC_TASK
from .tokenizer import END

MAX_TOKENS, MAX_QUERY_TOKENS = 256, 64
WORDS = {"cc-cedict", "omw-lexicon", "cldr-names"}
TASKS = {  # what the instruction says for pairs of a source, where the default task would be odd
    "oewn": "Given a term, retrieve its definition",
    "nl2bash": "Given a description, retrieve the command that does it",
    "tldr": "Given a description, retrieve the command that does it",
    "thealgorithms": "Given a description, retrieve the function that does it",
    "wiki-split": SYMMETRIC_TASK,
}
PAIR_SHARES = {"oewn": 0.25, "nl2bash": 0.5, "tldr": 0.25, "laws-zh": 1.2, "pingcap-docs": 1.2, "peps": 0.7}


LANGUAGE_SHARES = {"en": 0.42, "zh": 0.36, "fr": 0.1, "de": 0.06}
OTHER_LANGUAGES = 0.06


def share(lang: str, source: str) -> float:
    """How often a distillation row is drawn, against others of its language: sentences above words."""
    if source in WORDS:
        return {"zh": 0.35, "fr": 0.2, "de": 0.2, "zh-Hant": 0.03}.get(lang, 0.05)
    if lang == "zh":
        return {"tatoeba": 4.0, "sib200": 10.0, "security-101": 3.0, "tldr": 1.5}.get(source, 1.0)
    if lang == "en":
        weights = {"tatoeba": 2.0, "sib200": 6.0, "wiki-split": 1.0, "oewn": 0.35, "opentriviaqa": 0.8, "pairs": 0.5}
        return weights.get(source, 0.35)
    if lang in {"fr", "de"}:
        return {"sib200": 10.0, "security-101": 3.0, "tldr": 2.0}.get(source, 0.8)
    return {"sib200": 3.0}.get(source, 0.12)


class Draw:
    """Draws indices in proportion to weights."""

    def __init__(self, indices: np.ndarray, weights: np.ndarray) -> None:
        self.indices = indices
        self.cumulative = np.cumsum(weights / weights.sum())

    def __call__(self, rng: np.random.Generator, count: int) -> np.ndarray:
        return self.indices[np.searchsorted(self.cumulative, rng.random(count)).clip(max=len(self.indices) - 1)]


class DistilRows:
    """Texts, and for each the row of the teacher vector that it should meet."""

    def __init__(self, out: Path, tokenizer: Tokenizer, known: dict[str, int]) -> None:
        rows = [json.loads(line) for line in (out / "distil.jsonl").open(encoding="utf-8")]
        for pair in map(json.loads, (out / "pairs.jsonl").open(encoding="utf-8")):
            if pair["lang"] == "en":
                rows += [
                    {"text": t, "english": t, "lang": "en", "source": "pairs"} for t in (pair["query"], pair["passage"])
                ]
        rows = [row for row in rows if row["english"] in known]
        self.tokenizer, self.end = tokenizer, tokenizer.token_to_id(END)
        self.targets = np.array([known[row["english"]] for row in rows])
        self.texts = TokenizedTexts([row["text"] for row in rows], tokenizer, MAX_TOKENS)
        weights = np.array([share(row["lang"], row["source"]) for row in rows])
        self.languages = np.array([row["lang"] for row in rows])
        others = ~np.isin(self.languages, list(LANGUAGE_SHARES))
        parts = [(others, OTHER_LANGUAGES), *((self.languages == lang, part) for lang, part in LANGUAGE_SHARES.items())]
        for part, wanted in parts:
            weights[part] *= wanted / weights[part].sum()
        self.draw = Draw(np.arange(len(rows)), weights)
        sentence = (self.texts.lengths > 6) & ~np.isin([row["source"] for row in rows], list(WORDS))
        self.sentences = {
            lang: np.flatnonzero((self.languages == lang) & sentence) for lang in ("en", "zh", "fr", "de")
        }
        self.translated = {}
        for lang in ("zh", "fr", "de"):
            part = np.flatnonzero(
                (self.languages == lang) & (np.array([row["source"] for row in rows]) != "cldr-names")
            )
            self.translated[lang] = Draw(part, weights[part])
        first = {}
        for index in np.flatnonzero(self.languages == "en"):
            first.setdefault(int(self.targets[index]), int(index))
        self.english = np.array([first.get(int(target), -1) for target in self.targets])  # the row of the English side
        print(f"distillation rows: {len(rows):,}", flush=True)


class TrainingPairs:
    """Queries with the passage that answers each."""

    def __init__(self, out: Path, tokenizer: Tokenizer) -> None:
        rows = [json.loads(line) for line in (out / "pairs.jsonl").open(encoding="utf-8")]
        self.queries = TokenizedTexts([row["query"] for row in rows], tokenizer, MAX_QUERY_TOKENS)
        self.passages = TokenizedTexts([row["passage"] for row in rows], tokenizer, MAX_TOKENS)
        self.sources = np.array([row["source"] for row in rows])
        numbers: dict[str, int] = {}
        self.same = np.array([[numbers.setdefault(row[s], len(numbers)) for s in ("query", "passage")] for row in rows])
        weights = np.array([PAIR_SHARES.get(row["source"], 1.0) for row in rows])
        languages = np.array([{"en": "en", "zh": "zh"}.get(row["lang"], "other") for row in rows])
        parts = {lang: np.flatnonzero(languages == lang) for lang in ("en", "zh", "other")}
        self.draw = {lang: Draw(part, weights[part]) for lang, part in parts.items()}
        self.tasks = [TASKS.get(row["source"], DEFAULT_TASK) for row in rows]
        print({f"{lang} pairs": len(part) for lang, part in parts.items()}, flush=True)
