"""JSON in and out: bodies parsed and checked in C, vectors written straight from their arrays."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec
import orjson

from upsize.errors import InvalidInput
from upsize.server import json_shape as shape
from upsize.server.foreign_fields import Foreign

T = TypeVar("T")
LIKE = 0.8
"""From this similarity on a name is another's misspelling: `dimension`, `top_k` (for `top_n`), `instruct`."""
LONGEST_NAME = 256
"""Characters of a field's name."""
MOST_UNKNOWN = 1 << 16
"""Bytes of all fields together that are let pass because they mean nothing here."""
ON_THE_LOOP = 1 << 15
"""Bytes of a body that is parsed where it was read: in less time than a thread takes to wake."""
_BOM = b"\xef\xbb\xbf"
"""What some editors and shells put before UTF-8."""
_KEY_END = re.compile(rb'"[ \t\n\r]*:')
"""Ends every key, and may stand within a text too."""
_HALF = re.compile(rb"\\u[dD][89a-fA-F]")
_MISSING = re.compile(r"missing required field `(\w+)`$")
_TYPES = re.compile(r"`((?:str|int|float|bool|array|object|null)(?: \| (?:str|int|float|bool|array|object|null))*)`")
_NAMES = {
    "str": "a string",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
}
"""msgspec's names of JSON types, and those for people."""
_SHOWN = 300
"""Characters of a message that may quote the body."""


async def parse(body: bytes, into: type[T]) -> T:
    """As `loads`, where it holds up nobody."""
    if len(body) <= ON_THE_LOOP:
        return loads(body, into)
    return await asyncio.to_thread(loads, body, into)


def loads(body: bytes, into: type[T]) -> T:
    """Parse a request body into a struct; InvalidInput names the field and what was wrong with it.

    Fields that the struct has not are let pass, for clients send fields of other servers; those that look like one of
    its own are misspelt, and an error. A struct's `foreign` says which of them are honoured or refused.
    """
    body = body.removeprefix(_BOM)
    try:
        shape.check(body)
        given = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        if (name := _repeated(body, len(given))) is not None:
            raise InvalidInput(f"{name!r:.80} is in the body twice. Send it once.", param=name[:LONGEST_NAME])
        known: Sequence[str] = getattr(into, "__struct_encode_fields__", ())
        if known:
            foreign: Mapping[str, Foreign] = getattr(into, "foreign", {})
            given, changed = _honoured(given, foreign, known)
            _check_names(given, known, foreign, strict=into.__struct_config__.forbid_unknown_fields)  # type: ignore[attr-defined]
            body = msgspec.json.encode(given) if changed else body
        return msgspec.json.decode(body, type=into)
    except msgspec.ValidationError as error:
        raise _invalid(str(error), into) from None
    except msgspec.DecodeError as error:
        reason = "half of a surrogate pair (\\ud800 to \\udfff) is no character" if _HALF.search(body) else str(error)
        raise InvalidInput(f"The body is not valid JSON: {reason}.") from None
    except UnicodeDecodeError as error:
        raise InvalidInput(f"The body is not valid UTF-8: {error}.") from None
    except RecursionError:
        raise InvalidInput("The body nests lists or objects too deep.") from None


def _repeated(body: bytes, fields: int) -> str | None:
    """A field that is in the body twice, of which parsers take the last; None if `fields`, those parsed, are all."""
    if len(body) <= ON_THE_LOOP and len(_KEY_END.findall(body)) == fields:
        return None
    if shape.measure(body).fields == fields:
        return None
    names = json.loads(body, object_pairs_hook=lambda pairs: [key for key, _ in pairs], parse_int=str, parse_float=str)
    return next((name for place, name in enumerate(names) if name in names[:place]), None)


def _invalid(message: str, into: Any) -> InvalidInput:
    """From msgspec's message, which ends with the place where it knows one."""
    what, place = message, ""
    if message.endswith("`") and " - at `$" in message:
        what, _, place = message.rpartition(" - at `$")
        place = place[:-1].removeprefix(".")
    what = what if len(what) <= _SHOWN else f"{what[:_SHOWN]}…"
    missing = _MISSING.search(what)
    param = re.split(r"[.\[]", place, maxsplit=1)[0] or (missing[1] if missing else None)
    what = _TYPES.sub(lambda found: " or ".join(_NAMES.get(name, name) for name in found[1].split(" | ")), what)
    if what.startswith("Invalid enum value") and (values := _values(into, place)):
        what += f"; use {', '.join(values)}"
    return InvalidInput(f"{place}: {what}." if place else f"The body: {what}.", param=param)


def _values(into: Any, field: str) -> list[str]:
    """The values that a field of the body may have, if they are listed in its type."""
    annotation = get_type_hints(into).get(field) if isinstance(into, type) else None
    parts = [part for part in (annotation, *get_args(annotation)) if get_origin(part) is Literal]
    return [str(value) for part in parts for value in get_args(part)]


def _honoured(
    given: dict[str, msgspec.Raw], foreign: Mapping[str, Foreign], known: Sequence[str]
) -> tuple[dict[str, msgspec.Raw], bool]:
    """The fields with those of other servers in the words of this one; whether that changed any."""
    made: dict[str, bytes] = {}
    there = given.keys() & foreign.keys()
    for name in sorted(there):
        if len(memoryview(given[name])) > MOST_UNKNOWN:
            raise InvalidInput(f"{name} is too large.", param=name)
        for field, meant in foreign[name].here(name, msgspec.json.decode(given[name])).items():
            value = msgspec.json.encode(meant)
            other = made.get(field) or (bytes(given[field]) if field in given and field != name else value)
            if other not in (value, b"null"):
                raise InvalidInput(f"{name} contradicts {field}. Send one of them.", param=name)
            made[field] = value
    kept = {name: value for name, value in given.items() if name not in there or name in known}
    changed = {name: value for name, value in made.items() if name not in given or bytes(given[name]) != value}
    return kept | {name: msgspec.Raw(value) for name, value in changed.items()}, bool(changed)


def _folded(name: str) -> str:
    """A name without what tells `inputType`, `INPUT_TYPE` and `input_type` apart."""
    return name.replace("_", "").replace("-", "").lower()


def _check_names(
    given: Mapping[str, msgspec.Raw], known: Sequence[str], foreign: Iterable[str], *, strict: bool
) -> None:
    """InvalidInput for a field that is misspelt, or, if `strict`, unknown; and for too much that means nothing."""
    if len(given) > shape.MOST_FIELDS:
        raise InvalidInput(f"The body has {len(given):,} fields; {shape.MOST_FIELDS} is the most.")
    size, longest = 0, 2 * max(map(len, known))
    written = {_folded(name): name for name in (*foreign, *known)}
    for name in given.keys() - set(known):
        if len(name) > LONGEST_NAME:
            raise InvalidInput(f"A field's name has {len(name):,} characters; {LONGEST_NAME} is the most.")
        meant = written.get(_folded(name)) or next(
            iter(get_close_matches(name, known, 1, LIKE) if len(name) <= longest else ()), None
        )
        if meant is not None:
            raise InvalidInput(f"{name} is not a field here. Did you mean {meant}?", param=name)
        if strict:
            raise InvalidInput(f"{name} is not a field here. There are: {', '.join(sorted(known))}.", param=name)
        size += len(memoryview(given[name]))
        if size > MOST_UNKNOWN:
            raise InvalidInput(
                f"{name} is not a field here, and is too large to be let pass ({size:,} bytes). Leave it out.",
                param=name,
            )


def dumps(value: Any) -> bytes:
    """JSON bytes; float32 arrays are written with the digits that a float32 needs."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
