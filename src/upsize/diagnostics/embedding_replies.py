"""Checks of OpenAI-style embedding replies: errors by status and message, vectors by their values. Pure functions."""

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
"""Greatest |length − 1| of a normalised vector. Half-precision servers round after they normalise."""
SAME = 0.9999
"""Cosine from which two vectors of one text count as equal."""
MATES = 0.999
"""Least cosine of a text alone and in a batch. Half precision lowers it slightly, padding or a wrong mask far more."""
DISTINCT = 0.9999
"""Cosine from which vectors of unrelated texts count as equal."""

_MEMORY = ("out of memory", "outofmemory", "cannot allocate", "can't allocate", "cuda error: out")


class BadReplyError(Exception):
    """A reply with status 200 that is malformed; `finding` says why."""

    def __init__(self, finding: Finding) -> None:
        self.finding = finding
        super().__init__(finding.message)


def error_message(body: str) -> str:
    """The message in an error body of any known server, or else the first 200 characters of the body."""
    try:
        value: Any = json.loads(body)
    except ValueError:
        return " ".join(body.split())[:200]
    for _ in range(2):
        if isinstance(value, dict):
            value = next((value[k] for k in ("error", "message", "detail") if value.get(k)), value)
    return value if isinstance(value, str) else json.dumps(value)[:200]


def is_html(body: str, content_type: str) -> bool:
    """Whether the reply is a web page."""
    return "html" in content_type or body.lstrip()[:15].lower().startswith(("<!doctype", "<html"))


def refusal(status: int, body: str, *, model: str | None, key: bool) -> Finding:
    """The meaning of a status other than 200 and 404. A 404 needs further requests."""
    message = error_message(body)
    lowered = message.lower()
    detail = f"HTTP {status}: {message}" if message else f"HTTP {status}"
    if status in (401, 403):
        return wrong(
            "wrong_key",
            f"The API key was refused ({detail})." if key else f"The service asks for an API key ({detail}).",
            "Pass the key that the service was started with: --api-key KEY.",
        )
    if any(m in lowered for m in _MEMORY):
        return wrong(
            "out_of_memory",
            f"The service ran out of memory ({detail}).",
            "Give it fewer tokens at once, a shorter context, a smaller model, or the GPU to itself.",
        )
    if status == 429:
        return wrong(
            "overloaded", f"The service is overloaded ({detail}).", "Send fewer requests at once, or add a machine."
        )
    if status == 503:
        return wrong(
            "not_ready", f"The service is not ready ({detail}).", "It is starting or draining: wait, and watch its log."
        )
    if status in (502, 504):
        return wrong(
            "gateway", f"A proxy answers, and the service behind it does not ({detail}).", "Is it running? See its log."
        )
    if status >= 500:
        return wrong("server_error", f"The service failed ({detail}).", "Look at its log at the time of this request.")
    return wrong(
        "refused_request", f"The service refuses to embed with {model!r} ({detail}).", "Is it an embedding model?"
    )


def parse_vectors(body: str, expected: int) -> Doubles:
    """The vectors (expected, dimension) of an embeddings reply, in the order of the inputs.

    Raises BadReplyError for a missing or wrong number of vectors, unequal dimensions, and values that are not finite.
    """
    try:
        data = json.loads(body)["data"]
        rows = [item["embedding"] for item in sorted(data, key=lambda item: item.get("index", 0))]
    except (ValueError, KeyError, TypeError, AttributeError):
        finding = wrong("bad_reply", f"The reply is not a list of embeddings: {' '.join(body.split())[:120]}")
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
    """A vector from a list, in which null is NaN, or from base64 of float32."""
    try:
        if isinstance(row, str):
            return np.frombuffer(base64.b64decode(row, validate=True), "<f4").astype(np.float64)
        return np.array([np.nan if v is None else float(v) for v in row], np.float64)
    except (ValueError, TypeError, binascii.Error):
        raise BadReplyError(wrong("bad_reply", f"A vector is not a list of numbers: {str(row)[:80]}")) from None


def check_vectors(vectors: Doubles, dimensions: int | None) -> list[Finding]:
    """Check vectors (texts, dimension) of unrelated texts: their dimension, their lengths, and that they differ."""
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
                "So dot products are not cosines. Normalise the vectors. If you asked for fewer dimensions, this "
                "service cuts vectors without normalising them.",
            )
        )
    unit = vectors / np.maximum(lengths, 1e-300)[:, None]
    products = unit @ unit.T
    if len(vectors) > 1 and products[np.triu_indices(len(vectors), 1)].min() > DISTINCT:
        findings.append(
            wrong(
                "all_alike",
                "Unrelated texts get the same vector.",
                "The weights are not loaded, or the pooling takes a position that is the same in every text.",
            )
        )
    return findings or [ok("vectors", f"Vectors of {dimension} dimensions: finite, of length 1, and different.")]


def check_repeats(repeats: Sequence[Doubles], beside: Doubles) -> list[Finding]:
    """Check vectors of one text: several requests of it alone (`repeats`), and one in a batch (`beside`)."""
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
                f"A text's vector depends on its batch: cosine {batch:.4f} to the vector of the text alone.",
                "Some servers pad on the wrong side, or pool over padding. The model itself does not do this.",
            )
        )
    else:
        difference = max(float(np.abs(repeats[0] - other).max()) for other in repeats[1:])
        detail = f"The same text gives the same vector (to {plain(difference, 1)}), also in a batch."
        findings.append(ok("deterministic", detail))
    return findings


def check_fingerprints(seen: Sequence[str]) -> list[Finding]:
    """Check the values of the header x-upsize-fingerprint of all replies."""
    spaces = sorted(set(seen))
    if not spaces:
        return []
    if len(spaces) == 1:
        return [note("fingerprint", f"The vector space is {spaces[0]}: store it with your vectors.")]
    return [
        wrong(
            "several_spaces",
            f"Replies came from {len(spaces)} vector spaces: {', '.join(spaces)}.",
            "Replicas behind this address serve different models or settings. Give them the same.",
        )
    ]


def _cosine(a: Doubles, b: Doubles) -> float:
    if a.shape != b.shape:
        return 0.0
    return float(cosines(a[None], b[None])[0])
