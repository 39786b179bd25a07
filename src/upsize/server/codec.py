"""JSON in and out: bodies parsed and checked in C, vectors written straight from their arrays."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import Any, TypeVar

import msgspec
import orjson

from upsize.errors import InvalidInput

T = TypeVar("T")
LIKE = 0.8
"""From this similarity on a name is another's misspelling: `dimension`, `top_k` (for `top_n`), `instruct`."""
_BOM = b"\xef\xbb\xbf"
"""What some editors and shells put before UTF-8."""
_MISSING = re.compile(r"missing required field `(\w+)`$")
_PLACE = re.compile(r"^(?P<what>.*?) - at `\$?\.?(?P<place>.*)`$")


def loads(body: bytes, into: type[T]) -> T:
    """Parse a request body into a struct; InvalidInput names the field and what was wrong with it.

    Fields that the struct has not are let pass, for clients send fields of other servers; those that look like one of
    its own are misspelt, and an error.
    """
    body = body.removeprefix(_BOM)
    try:
        parsed = msgspec.json.decode(body, type=into)
        _no_misspelling(body, into)
        return parsed
    except msgspec.ValidationError as error:
        found = _PLACE.match(str(error))
        what, place = (found["what"], found["place"]) if found else (str(error), "")
        missing = _MISSING.search(what)
        param = re.split(r"[.\[]", place)[0] or (missing[1] if missing else None)
        raise InvalidInput(f"{place}: {what}." if place else f"The body: {what}.", param=param) from None
    except msgspec.DecodeError as error:
        raise InvalidInput(f"The body is not valid JSON: {error}.") from None
    except UnicodeDecodeError as error:
        raise InvalidInput(f"The body is not valid UTF-8: {error}.") from None


def _no_misspelling(body: bytes, into: type) -> None:
    known = getattr(into, "__struct_encode_fields__", ())
    for name in msgspec.json.decode(body, type=dict[str, msgspec.Raw]).keys() - set(known) if known else ():
        if close := get_close_matches(name, known, 1, LIKE):
            raise InvalidInput(f"{name} is not a field here. Did you mean {close[0]}?", param=name)


def dumps(value: Any) -> bytes:
    """JSON bytes; float32 arrays are written with the digits that a float32 needs."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
