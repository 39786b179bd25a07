"""Vectors in metadata: columns of an export that hold another model's embeddings.

An index embeds every text itself, and vectors of two models cannot be compared, so these columns are of no use to a
search; kept as metadata they would come back with every hit. They are recognised by their values, and with fewer
numbers by their names too.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any

NUMBERS = 32
"""From so many numbers on a list is taken for a vector, whatever its name: the least dimension of these models."""
NAMED = 8
"""From so many on, in a field that is called as vectors are."""
ENDINGS = ("embedding", "embeddings", "vector", "vectors", "emb", "values")
"""Of the names of such fields, in lower case and without punctuation: `text_embedding`, `contentVector`, `values`."""
DEEPEST = 8
"""Levels of nesting that are looked into."""

_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{40,}={0,2}")
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


def vector_fields(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Field of the metadata → what it holds ("8 numbers"), of those that hold vectors."""
    return {name: held for name, value in metadata.items() if (held := _held(name, value, 1))}


def _held(name: str, value: Any, level: int) -> str | None:
    least = NAMED if is_vector_name(name) else NUMBERS
    if isinstance(value, list | tuple):
        if len(value) >= least and all(isinstance(v, int | float) and not isinstance(v, bool) for v in value):
            return f"{len(value):,} numbers"
        inner = next((held for v in value[:least] if level < DEEPEST and (held := _inside(name, v, level))), None)
        return f"a list of {inner}" if inner else None
    if isinstance(value, dict):
        pairs = value.items() if level < DEEPEST else ()
        return next((held for key, v in pairs if (held := _held(str(key), v, level + 1))), None)
    if isinstance(value, str):
        return _held_in_text(value, least)
    if isinstance(value, bytes):
        return f"{len(value):,} bytes" if least == NAMED else None
    return None


def _inside(name: str, value: Any, level: int) -> str | None:
    return _held(name, value, level + 1) if isinstance(value, list | tuple | dict) else None


def _held_in_text(text: str, least: int) -> str | None:
    """Numbers written out ("[0.1, 0.2, …]"), or in a field of that name float32 values in base64."""
    text = text.strip()
    bracketed = text.startswith("[") and text.endswith("]")
    if bracketed or (least == NAMED and text[:1] in "-+.0123456789" and text):
        parts = re.split(r"[,;\s]+", text.strip("[] \t\r\n"))
        if len(parts) >= least and all(map(_NUMBER.fullmatch, parts)):
            return f"{len(parts):,} numbers as text"
    if least == NAMED and _BASE64.fullmatch(text):
        try:
            size = len(base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True))
        except binascii.Error:
            return None
        return f"{size // 4:,} numbers in base64" if size % 4 == 0 and size >= 4 * NAMED else None
    return None


def is_vector_name(name: str) -> bool:
    """Whether a field of this name is likely to hold a vector."""
    return re.sub(r"[^a-z]", "", name.lower()).endswith(ENDINGS)
