"""Checks the texts that a Python program passes. A value of a wrong type is an error that names its index."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from typing import Any

from upsize.errors import InvalidInput
from upsize.model.incremental_encoding import require_unicode


def texts_of(given: Any, param: str, *, may_be_empty: bool = False) -> list[str]:
    """The texts of a list, a tuple, a generator, or a column of numpy or pandas. Raises InvalidInput for anything else.

    `may_be_empty`: whether a text may be an empty string.
    """
    return list(each_text(given, param, may_be_empty=may_be_empty))


def each_text(given: Any, param: str, *, may_be_empty: bool = False) -> Iterator[str]:
    """As `texts_of`, lazily. A wrong type of `given` itself raises at once."""
    return _each(_iterable(given, param), param, may_be_empty=may_be_empty)


def _iterable(given: Any, param: str) -> Iterable[Any]:
    if isinstance(given, str):
        raise InvalidInput(f"{param} is one string; give a list of strings.", param=param)
    if isinstance(given, Mapping):
        raise InvalidInput(
            f"{param} is a {type(given).__name__}; give the texts, as list(texts.values()).", param=param
        )
    if isinstance(given, Set) and not hasattr(given, "mapping"):  # views of a dictionary have an order
        raise InvalidInput(f"{param} is a {type(given).__name__}, which has no order; give a list.", param=param)
    if getattr(given, "ndim", 1) != 1:
        raise InvalidInput(f"{param} has {given.ndim} dimensions; give one column of texts.", param=param)
    if isinstance(given, bytes | bytearray | memoryview) or not isinstance(given, Iterable):
        raise InvalidInput(f"{param} is a {type(given).__name__}; give a string, or several.", param=param)
    return given


def _each(given: Iterable[Any], param: str, *, may_be_empty: bool) -> Iterator[str]:
    for index, text in enumerate(given):
        if not isinstance(text, str):
            raise InvalidInput(f"{param}[{index}] is {_type_name(text)}, not a string.", param=param, index=index)
        if not text and not may_be_empty:
            raise InvalidInput(f"{param}[{index}] is an empty string.", param=param, index=index)
        yield text


def text_of(given: Any, param: str) -> str:
    """`given` if it is one non-empty text. Raises InvalidInput."""
    if not isinstance(given, str):
        raise InvalidInput(f"{param} is {_type_name(given)}; give one string.", param=param)
    if not given:
        raise InvalidInput(f"{param} is an empty string.", param=param)
    require_unicode(given, param)
    return given


def instruction_of(given: Any) -> str | None:
    """An instruction, or None for None and an empty string. Raises InvalidInput for anything else."""
    if given is None or given == "":
        return None
    return text_of(given, "instruction")


def _type_name(value: Any) -> str:
    if value is None:
        return "None (a missing value)"
    if isinstance(value, float) and value != value:
        return "NaN (a missing value)"
    if type(value).__name__ in ("NAType", "NaTType"):
        return f"{value} (a missing value)"
    return f"a {type(value).__name__}"
