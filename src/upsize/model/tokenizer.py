"""TextTokenizer: text → token ids, without special tokens. `encoding` appends the end token.

Wraps the checkpoint's own tokenizer.json, so ids are the published ones (docs/sources.md §2).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer
from tokenizers.normalizers import Lowercase
from tokenizers.normalizers import Sequence as Normalizers

from upsize.errors import CheckpointError
from upsize.model.config import read_file
from upsize.model.split_points import BORDER, QWEN2_SPLIT

END_OF_TEXT = "<|endoftext|>"

Ids = NDArray[np.int32]


AT_ONCE = 1000
"""Characters of one text up to which it is encoded with the interpreter's lock held: to release it costs more."""


class _Model(msgspec.Struct):
    vocab: dict[str, int]
    type: str = ""
    dropout: float | None = None


class _Added(msgspec.Struct):
    id: int
    content: str = ""
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False


class _Definition(msgspec.Struct):
    """The part of tokenizer.json that this module reads itself, in a tenth of the library's time."""

    model: _Model
    added_tokens: list[_Added] = []
    normalizer: Any = None
    pre_tokenizer: Any = None
    post_processor: Any = None

    @property
    def keeps_borders(self) -> bool:
        """Whether the ids of the parts between split points are the ids of the whole text."""
        split = {"type": "Split", "pattern": {"Regex": QWEN2_SPLIT}, "behavior": "Isolated", "invert": False}
        byte_level = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}
        steps = [{k: v for k, v in s.items() if k != "trim_offsets"} for s in _steps(self.pre_tokenizer)]
        return (
            self.model.type == "BPE"
            and (self.normalizer is None or self.normalizer.get("type") == "NFC")
            and steps == [split, byte_level]
            and not any(t.single_word or t.lstrip or t.rstrip or BORDER.search(t.content) for t in self.added_tokens)
        )


def _steps(pre_tokenizer: Any) -> list[dict[str, Any]]:
    """The steps of a sequence of pre-tokenizers; empty for any other pre-tokenizer."""
    steps: list[dict[str, Any]] = (pre_tokenizer or {}).get("pretokenizers") or []
    return steps


def _byte_level() -> dict[str, int]:
    """Character → byte of the byte-level alphabet (GPT-2's): printable ones stand for themselves."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(b): b for b in plain} | {chr(256 + place): byte for place, byte in enumerate(others)}


_BYTES = _byte_level()


class TextTokenizer:
    """The checkpoint's tokenizer. Safe to call from several threads; the work is done outside the interpreter lock."""

    def __init__(self, path: Path, lowercase: bool = False) -> None:
        """`lowercase` converts texts to lower case first, as do_lower_case of sentence-transformers does."""
        definition = read_file(path, "the tokenizer's definition")
        try:
            self._tokenizer = Tokenizer.from_buffer(definition)
            self._tokenizer.encode("a b", add_special_tokens=False)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # a bare Exception for a wrong file, and panics are not even that
            raise CheckpointError(path, "a tokenizers definition", f"an unreadable one ({error})") from error
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        end = self._tokenizer.token_to_id(END_OF_TEXT)
        if end is None:
            raise CheckpointError(path, f"a tokenizer with {END_OF_TEXT}", "none: another model's tokenizer?")
        self.end_id: int = end
        try:
            parsed = msgspec.json.decode(definition, type=_Definition)
        except msgspec.ValidationError as error:
            raise CheckpointError(path, "a vocabulary of token to id", str(error)) from error
        if parsed.model.dropout:
            found = f"dropout {parsed.model.dropout:g}, which gives the same text other ids each time"
            raise CheckpointError(path, "a tokenizer without dropout", found, 'Set "dropout" to null.')
        self.appends_end: bool = END_OF_TEXT in str(parsed.post_processor)
        """Whether the file itself carries the rule that appends the end token: embedders' do, rerankers' do not."""
        # The library gives an added token the next free id, whatever the file says.
        added = self._tokenizer.get_added_tokens_decoder()
        ids = (*parsed.model.vocab.values(), *(token.id for token in parsed.added_tokens), *added)
        self.size: int = max(ids, default=-1) + 1
        """One more than the greatest id, added tokens included. More than there are tokens, where ids are left out."""
        self.keeps_borders: bool = parsed.keeps_borders
        """Whether a text may be encoded in parts between split points. Other tokenizers get whole texts."""
        lowercase = lowercase and '"Lowercase"' not in json.dumps(parsed.normalizer)
        if lowercase:
            own = self._tokenizer.normalizer
            self._tokenizer.normalizer = Normalizers([Lowercase(), *([own] if own else [])])
            self.keeps_borders = False
        self.digest: str = hashlib.sha256(definition + (b"do_lower_case" if lowercase else b"")).hexdigest()[:16]

    def token_bytes(self, token: int) -> bytes:
        """Return the bytes of a token; empty for an unknown id."""
        text = self._tokenizer.id_to_token(token) or ""
        try:
            return bytes(_BYTES[character] for character in text)
        except KeyError:  # an added token stands for itself
            return text.encode()

    def token_id(self, token: str) -> int | None:
        """Return the id of a token of the vocabulary, or None."""
        return self._tokenizer.token_to_id(token)

    def encode(self, text: str) -> Ids:
        """Return the ids (tokens,) of one text."""
        if len(text) > AT_ONCE:
            return self.encode_batch([text])[0]
        return np.asarray(self._tokenizer.encode(text, add_special_tokens=False).ids, np.int32)

    def encode_batch(self, texts: Sequence[str]) -> list[Ids]:
        """Return the ids of several texts, encoded in parallel without the interpreter's lock."""
        if len(texts) == 1 and len(texts[0]) <= AT_ONCE:
            return [self.encode(texts[0])]
        encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.asarray(e.ids, np.int32) for e in encodings]

    def decode(self, ids: Sequence[int] | Ids) -> str:
        """Return the text of `ids`, special tokens included."""
        return self._tokenizer.decode([int(i) for i in ids], skip_special_tokens=False)
