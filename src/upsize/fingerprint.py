"""Fingerprint: the identity of a vector space. Two vectors are comparable if their fingerprints are equal.

A model's name does not name a vector space: an early revision of Qwen3-Embedding-0.6B, with the same weights but a
tokenizer without the end token, gives vectors at cosine 0.77 to 0.88 of today's (docs/sources.md §2). So every vector
carries the fingerprint of everything that shaped it, in transit and at rest.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property, lru_cache

from upsize.errors import FingerprintMismatch


@dataclass(frozen=True)
class Fingerprint:
    """Everything that shapes a vector. Two vectors may be compared only if their fingerprints are equal."""

    weights: str
    """Digest of all bytes of the tensors, their names, shapes and types; the same for any sharding. Older versions
    sampled the bytes: 16 hexadecimal digits without the prefix `sha256-`."""
    tokenizer: str
    """Digest of the tokenizer's definition, the rule for the end token included."""
    pooling: str
    prompts: str
    """Digest of the prompt bytes of queries and documents."""
    max_length: int
    dimension: int
    normalized: bool
    dtype: str
    quantization: str
    network: str = ""
    """The numbers of config.json that the network computes with; empty in fingerprints of older versions."""

    @cached_property
    def id(self) -> str:
        """A short stable name: 12 hexadecimal digits of the SHA-256 of the fields, without an empty `network`."""
        payload = asdict(self)
        if not self.network:
            del payload["network"]
        return hashlib.sha256(json.dumps(payload, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def sampled(self) -> bool:
        """Whether an older version made it, from samples of the weights' bytes."""
        return not self.weights.startswith("sha256-")

    @lru_cache(maxsize=1024)  # noqa: B019 (a few values of a few models; with each goes its id)
    def at(self, dimension: int) -> Fingerprint:
        """Return the space of these vectors truncated to `dimension` values and normalised again."""
        return self if dimension == self.dimension else replace(self, dimension=dimension)

    def require(self, other: Fingerprint) -> None:
        """Raise FingerprintMismatch, naming both and what differs, unless `other` is the same space."""
        if self == other:
            return
        differences = ", ".join(
            f"{f.name} {getattr(self, f.name)!r} against {getattr(other, f.name)!r}"
            for f in fields(self)
            if getattr(self, f.name) != getattr(other, f.name)
        )
        raise FingerprintMismatch(
            f"Vectors of {self.id} and {other.id} cannot be compared: they differ in {differences}. "
            "Embed one side again with the other's model and settings."
        )
