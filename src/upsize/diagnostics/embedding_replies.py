"""What an OpenAI-shaped reply says, judged: refusals by their status and message, vectors by their values. Pure."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upsize.compute.cosine import cosines
from upsize.diagnostics.findings import Finding, note, ok, wrong
from upsize.number_format import plain

Doubles = NDArray[np.float64]

UNIT_LENGTH = 1e-2
"""Half-precision servers normalise before they round; a vector that is not normalised is off by far more."""
SAME = 0.9999
"""Cosine from which two vectors of one text count as the same."""
MATES = 0.999
"""Cosine of a text alone and in a batch: half precision moves it a little, padding or a wrong mask far more."""
DISTINCT = 0.9999

_MEMORY = ("out of memory", "outofmemory", "cannot allocate", "can't allocate", "cuda error: out")


class BadReplyError(Exception):
    """A reply of status 200 that is none; `finding` says why."""

    def __init__(self, finding: Finding) -> None:
        self.finding = finding
        super().__init__(finding.message)


def error_message(body: str) -> str:
    """The message within an error's body, in any of the peers' shapes; or the body's first 200 characters."""
    try:
        value: Any = json.loads(body)
    except ValueError:
        return " ".join(body.split())[:200]
    for _ in range(2):
        if isinstance(value, dict):
            value = next((value[k] for k in ("error", "message", "detail") if value.get(k)), value)
    return value if isinstance(value, str) else json.dumps(value)[:200]


def is_html(body: str, content_type: str) -> bool:
    """Whether a person's page came instead of a service's reply."""
    return "html" in content_type or body.lstrip()[:15].lower().startswith(("<!doctype", "<html"))


def refusal(status: int, body: str, *, model: str | None, key: bool) -> Finding:
    """What a status other than 200 means, other than 404, which depends on what else is there."""
    message = error_message(body)
    lowered = message.lower()
    said = f"HTTP {status}: {message}" if message else f"HTTP {status}"
    if status in (401, 403):
        return wrong(
            "wrong_key",
            f"The API key was refused ({said})." if key else f"The service asks for an API key ({said}).",
            "Pass the one that the service was started with: --api-key KEY.",
        )
    if any(m in lowered for m in _MEMORY):
        return wrong(
            "out_of_memory",
            f"The service ran out of memory ({said}).",
            "Give it fewer tokens at once, a shorter context, a smaller model, or the GPU to itself.",
        )
    if status == 429:
        return wrong("overloaded", f"The service is overloaded ({said}).", "Send less at once, or add a machine.")
    if status == 503:
        return wrong(
            "not_ready", f"The service is not ready ({said}).", "It is starting or draining: wait, and watch its log."
        )
    if status in (502, 504):
        return wrong(
            "gateway", f"A proxy answers, and the service behind it does not ({said}).", "Is it running? See its log."
        )
    if status >= 500:
        return wrong("server_error", f"The service failed ({said}).", "Look at its log at this moment.")
    return wrong("refused_request", f"The service refuses an embedding of {model!r} ({said}).", "Does it embed at all?")


def vectors_of(body: str, expected: int) -> Doubles:
    """The vectors (expected, dimension) of an embeddings reply, in the order of its inputs.

    Raises BadReplyError where it holds none, too few, unequal ones, or values that are no finite numbers.
    """
    try:
        data = json.loads(body)["data"]
        rows = [item["embedding"] for item in sorted(data, key=lambda item: item.get("index", 0))]
    except (ValueError, KeyError, TypeError, AttributeError):
        finding = wrong("bad_reply", f"The reply is no list of embeddings: {' '.join(body.split())[:120]}")
        raise BadReplyError(finding) from None
    if len(rows) != expected:
        raise BadReplyError(wrong("bad_reply", f"{expected} texts were sent and {len(rows)} vectors came back."))
    vectors = [_numbers(row) for row in rows]
    lengths = sorted({len(v) for v in vectors})
    if len(lengths) != 1 or not lengths[0]:
        raise BadReplyError(wrong("bad_reply", f"The vectors of one reply have unequal lengths: {lengths}."))
    stacked = np.stack(vectors)
    if not np.isfinite(stacked).all():
        raise BadReplyError(
            wrong(
                "not_finite",
                f"{int((~np.isfinite(stacked)).sum())} values of the vectors are NaN, infinite or null.",
                "Serve the model in bfloat16 or float32: float16 overflows on ordinary texts.",
            )
        )
    return stacked


def _numbers(row: Any) -> Doubles:
    """A vector as numbers; base64 of float32 as such, null as NaN."""
    try:
        if isinstance(row, str):
            return np.frombuffer(base64.b64decode(row, validate=True), "<f4").astype(np.float64)
        return np.array([np.nan if v is None else float(v) for v in row], np.float64)
    except (ValueError, TypeError, binascii.Error):
        raise BadReplyError(wrong("bad_reply", f"A vector is no list of numbers: {str(row)[:80]}")) from None


def judge_vectors(vectors: Doubles, dimensions: int | None) -> list[Finding]:
    """Vectors (texts, dimension) of different texts: their dimension, their lengths, and whether they differ."""
    dimension = vectors.shape[1]
    findings = []
    if dimensions is not None and dimension != dimensions:
        findings.append(
            wrong(
                "wrong_dimension",
                f"{dimensions} dimensions were asked for and {dimension} came back.",
                "The service ignores `dimensions`: cut the vectors yourself and normalise them again, or ask for "
                f"{dimension}, and make your index of that size.",
            )
        )
    lengths = np.linalg.norm(vectors, axis=1)
    if np.abs(lengths - 1).max() > UNIT_LENGTH:
        least, most = (plain(float(length), 4) for length in (lengths.min(), lengths.max()))
        findings.append(
            wrong(
                "not_unit",
                f"The vectors have lengths of {least} to {most}, not 1.",
                "Dot products are not cosines then: normalise them, and if you asked for fewer dimensions, know that "
                "this service cuts without normalising.",
            )
        )
    unit = vectors / np.maximum(lengths, 1e-300)[:, None]
    products = unit @ unit.T
    if len(vectors) > 1 and products[np.triu_indices(len(vectors), 1)].min() > DISTINCT:
        findings.append(
            wrong(
                "all_alike",
                "Texts that have nothing to do with each other get the same vector.",
                "The weights are not loaded, or the pooling takes a position that is the same in every text.",
            )
        )
    return findings or [ok("vectors", f"Vectors of {dimension} dimensions: finite, of length 1, and different.")]


def judge_repeats(repeats: Sequence[Doubles], beside: Doubles) -> list[Finding]:
    """One text's vector several times alone (`repeats`), and once beside others in a batch."""
    findings = []
    worst = min(_cosine(repeats[0], other) for other in repeats[1:])
    if worst < SAME:
        findings.append(
            wrong(
                "not_deterministic",
                f"The same text gives different vectors: cosine {worst:.4f} between two calls.",
                "Replicas with different models, revisions or settings behind one address, or a model in training "
                "mode (dropout).",
            )
        )
    elif (batch := _cosine(repeats[0], beside)) < MATES:
        findings.append(
            wrong(
                "batch_dependent",
                f"A text's vector depends on its batch mates: cosine {batch:.4f} to the one it has alone.",
                "Padding on the wrong side, or a pooling that takes the padding: known of some servers, not of this "
                "model.",
            )
        )
    else:
        difference = max(float(np.abs(repeats[0] - other).max()) for other in repeats[1:])
        said = f"The same text gives the same vector (to {plain(difference, 1)}), also in a batch."
        findings.append(ok("deterministic", said))
    return findings


def judge_fingerprints(seen: Sequence[str]) -> list[Finding]:
    """Values of the header x-upsize-fingerprint in all replies."""
    spaces = sorted(set(seen))
    if not spaces:
        return []
    if len(spaces) == 1:
        return [note("fingerprint", f"The vector space is {spaces[0]}: keep it beside your vectors.")]
    return [
        wrong(
            "several_spaces",
            f"Replies came from {len(spaces)} vector spaces: {', '.join(spaces)}.",
            "Replicas behind this address serve different models or settings: make them alike.",
        )
    ]


def _cosine(a: Doubles, b: Doubles) -> float:
    if a.shape != b.shape:
        return 0.0
    return float(cosines(a[None], b[None])[0])
