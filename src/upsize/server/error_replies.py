"""Replies to errors: the status by the class of the error, the shape by the dialect of the path."""

from __future__ import annotations

import math
from typing import Any

from starlette.responses import Response

from upsize import errors
from upsize.server.allow_list import NotAllowed
from upsize.server.codec import dumps


class Unauthorized(errors.UpsizeError):
    """The request has no API key, or a wrong one."""

    def __init__(self) -> None:
        super().__init__("Missing or wrong API key. Send it as `Authorization: Bearer <key>`.")


class TooLarge(errors.InvalidInput):
    """The body exceeds the size limit."""


class TooSlow(errors.InvalidInput):
    """The body did not arrive in time."""


class Forbidden(errors.InvalidInput):
    """The request comes from a page of another origin, or names another host."""


class UnsupportedMedia(errors.InvalidInput):
    """The Content-Type is not JSON, or the body is compressed."""


STATUS: tuple[tuple[type[errors.UpsizeError], int, str], ...] = (
    (Unauthorized, 401, "invalid_api_key"),
    (TooLarge, 413, "request_too_large"),
    (TooSlow, 408, "timeout"),
    (Forbidden, 403, "forbidden"),
    (UnsupportedMedia, 415, "unsupported_media_type"),
    (NotAllowed, 403, "not_allowed"),
    (errors.TextTooLong, 400, "context_length_exceeded"),
    (errors.InvalidInput, 400, "invalid_value"),
    (errors.UnknownModel, 404, "model_not_found"),
    (errors.UnknownIndex, 404, "index_not_found"),
    (errors.UnknownDocument, 404, "document_not_found"),
    (errors.WeightsDamaged, 500, "weights_damaged"),
    (errors.CheckpointError, 400, "invalid_model"),
    (errors.HubError, 400, "model_not_fetched"),
    (errors.FingerprintMismatch, 409, "fingerprint_mismatch"),
    (errors.Refused, 409, "refused"),
    (errors.JournalLocked, 409, "locked"),
    (errors.MissingExtra, 501, "missing_extra"),
    (errors.JournalFailed, 507, "storage_full"),
    (errors.DiskFull, 507, "storage_full"),
    (errors.StoreFull, 507, "storage_full"),
    (errors.StoreUnavailable, 503, "store_unavailable"),
    (errors.RowsRefused, 400, "invalid_value"),
    (errors.StoreDamaged, 500, "store_damaged"),
    (errors.Overloaded, 429, "overloaded"),
    (errors.Unavailable, 503, "unavailable"),
    (errors.NonFiniteVector, 500, "non_finite_vector"),
    (errors.OutOfMemory, 500, "out_of_memory"),
)
"""Error class → HTTP status and OpenAI `code`. The first class that matches counts."""


def status_of(error: Exception) -> tuple[int, str]:
    """HTTP status and code of an error. An error that is not an UpsizeError gives 500."""
    for kind, status, code in STATUS:
        if isinstance(error, kind):
            return status, code
    return 500, "internal_error"


def reply_to(error: Exception, path: str, message: str | None = None) -> Response:
    """The reply to a failed request on `path`. `message` replaces the text of the error."""
    status, code = status_of(error)
    if not isinstance(error, errors.UpsizeError):
        message = "Internal error. The server's log has the reason."
    elif message is None:
        message = str(error)
    headers = {}
    if isinstance(error, errors.Overloaded):
        headers["Retry-After"] = str(math.ceil(error.retry_after))
    if isinstance(error, errors.Unavailable):
        headers |= {"Retry-After": "5", "Connection": "close"}
    if isinstance(error, errors.StoreUnavailable):
        headers["Retry-After"] = "5"
    if isinstance(error, TooSlow):
        headers["Connection"] = "close"
    if isinstance(error, Unauthorized):
        headers["WWW-Authenticate"] = "Bearer"
    shape = _cohere if path.startswith("/v2/") else _openai
    return Response(dumps(shape(error, message, status, code)), status, headers, "application/json")


def _openai(error: Exception, message: str, status: int, code: str) -> dict[str, Any]:
    kind = "invalid_request_error" if status < 500 else "server_error"
    body: dict[str, Any] = {"message": message, "type": kind, "param": getattr(error, "param", None), "code": code}
    if getattr(error, "index", None) is not None:
        body["index"] = error.index  # type: ignore[attr-defined]
    return {"error": body}


def _cohere(_: Exception, message: str, __: int, ___: str) -> dict[str, Any]:
    return {"message": message}
