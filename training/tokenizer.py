"""The demo models' own tokenizer: byte-level BPE with Qwen2's split pattern, a tenth of Qwen's vocabulary."""

import json
import random
from collections.abc import Iterator
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from .prompts import DEFAULT_TASK, SYMMETRIC_TASK, rerank_text

SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
END, START, STOP = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
SPECIAL, PLAIN = [END, START, STOP], ["<think>", "</think>"]
VOCABULARY = 16384
CHARACTERS = {"en": 9e6, "zh": 5e6}  # training text by language; every other language gets OTHER
OTHER = 0.5e6


def training_text(out: Path) -> Iterator[str]:
    """Texts of the training rows up to each language's share, and the templates so often that they merge."""
    used: dict[str, float] = {}
    for name in ("distil", "pairs"):
        with (out / f"{name}.jsonl").open(encoding="utf-8") as lines:
            for row in map(json.loads, lines):
                lang = {"zh-Hant": "zh"}.get(row["lang"], row["lang"])
                for text in filter(None, map(row.get, ("text", "query", "passage"))):
                    if used.get(lang, 0) < CHARACTERS.get(lang, OTHER):
                        used[lang] = used.get(lang, 0) + len(text)
                        yield text
    for task in (DEFAULT_TASK, SYMMETRIC_TASK):
        yield from [f"Instruct: {task}\nQuery:", rerank_text(task, "yes", "no"), "yes", "no"] * 500


def train(out: Path) -> Tokenizer:
    """Train on the rows in `out` and write `tokenizer.json` there, without a post-processor; reuse it if it exists."""
    path = out / "tokenizer.json"
    if path.exists():
        return Tokenizer.from_file(str(path))
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    split = pre_tokenizers.Split(Regex(SPLIT), "isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(SPECIAL) - len(PLAIN),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        max_token_length=18,
        show_progress=False,
    )
    texts = list(training_text(out))
    random.Random(0).shuffle(texts)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in SPECIAL])
    tokenizer.add_tokens([AddedToken(token, normalized=False, special=False) for token in PLAIN])
    for word in ("yes", "no"):
        if len(tokenizer.encode(word).ids) != 1:
            raise SystemExit(f"{word!r} is not one token: the reranker cannot answer; add it to the training text.")
    tokenizer.save(str(path))
    return tokenizer


def for_model(tokenizer: Tokenizer, reranker: bool) -> Tokenizer:
    """A copy with the post-processor of a published checkpoint: an embedder appends the end token."""
    copy = Tokenizer.from_str(tokenizer.to_str())
    byte_level = processors.ByteLevel(trim_offsets=False)
    if reranker:
        copy.post_processor = byte_level
    else:
        end = [(END, copy.token_to_id(END))]
        template = processors.TemplateProcessing(single=f"$A {END}", pair=f"$A $B {END}", special_tokens=end)
        copy.post_processor = processors.Sequence([byte_level, template])
    return copy
