"""Redacts folders in messages: a client sees names of models and indexes, the log keeps the paths."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from upsize import errors

_PATH = re.compile(r"(?<![\w.:/)\]~-])~?/(?!v[12]/)(?:[^\s/:;,'\"`()…]+/)+([^\s/:;,'\"`()…]*)")
"""An absolute path of two or more parts that belongs neither to a URL nor to this server's API."""
_QUOTE_CLIENT = (errors.InvalidInput, errors.UnknownDocument, errors.UnknownModel)
"""Errors that quote the client's text. It may look like a path, and is not redacted."""
_MESSAGE_FIELDS = ("trouble", "error")
"""Fields of an index's status that hold messages."""


def public(error: Exception, folders: Mapping[str, str]) -> str:
    """The message of an error for a client. `folders`: folder → the name that replaces it."""
    return _public(str(error), folders, quotes_client=isinstance(error, _QUOTE_CLIENT))


def public_status(value: Any, folders: Mapping[str, str]) -> Any:
    """The reply of an index operation, with redacted messages."""
    if isinstance(value, list):
        return [public_status(item, folders) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        name: _public(item, folders, quotes_client=False)
        if name in _MESSAGE_FIELDS and isinstance(item, str)
        else public_status(item, folders)
        for name, item in value.items()
    }


def _public(message: str, folders: Mapping[str, str], *, quotes_client: bool) -> str:
    for folder in sorted(folders, key=len, reverse=True):
        called = folders[folder]
        inside = f"{called}/" if called else ""
        message = message.replace(f"{folder}/", inside)
        alone = called.replace("\\", r"\\") or "the folder of indexes"
        message = re.sub(rf"{re.escape(folder)}(?![\w-])", alone, message)
    return message if quotes_client else _PATH.sub(lambda path: path[1] or "a folder", message)
