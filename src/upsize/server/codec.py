"""JSON in and out: a body is split into its fields once, and each value is decoded once, in C, by its declared type."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from typing import Any, Literal, TypeVar, get_args, get_origin

import msgspec
import orjson

from upsize.errors import InvalidInput
from upsize.server import json_shape
from upsize.server.foreign_fields import ForeignField

T = TypeVar("T", bound=msgspec.Struct)

NAME_SIMILARITY = 0.8
"""From this `difflib` ratio on, an unknown name is a misspelling of a known one. Chosen so that `dimension` is one of
`dimensions`, and names of other servers with another meaning are not."""
MAX_NAME_LENGTH = 256
"""Characters of a field's name."""
MAX_IGNORED_BYTES = 1 << 16
"""Bytes of all ignored fields together."""
INLINE_BYTES = 1 << 15
"""Bytes of a body that is decoded on the event loop. It takes less time than to wake a thread."""
MAX_QUOTED = 300
"""Characters of a message that may quote the body."""
_BOM = b"\xef\xbb\xbf"
"""Some editors and shells write it before UTF-8."""
_KEY_END = re.compile(rb'"[ \t\n\r]*:')
"""The end of a key. It may also stand within a text."""
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_TYPES = re.compile(r"`((?:str|int|float|bool|array|object|null)(?: \| (?:str|int|float|bool|array|object|null))*)`")
_TYPE_NAMES = {
    "str": "a string",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
}
"""msgspec's name of a JSON type → the name that messages use."""

Fields = dict[str, msgspec.Raw]
"""The fields of a body in their order, each with the bytes of its value."""


async def decode_body(body: bytes, into: type[T]) -> T:
    """As `loads`. Large bodies are decoded in a thread, so that they do not hold up the event loop."""
    if len(body) <= INLINE_BYTES:
        return loads(body, into)
    return await asyncio.to_thread(loads, body, into)


def loads(body: bytes, into: type[T]) -> T:
    """Decode a request body into a struct. Raises InvalidInput, which names the field and what is wrong with it.

    Fields of other servers that `into.foreign` lists are translated or refused. Other unknown fields are ignored unless
    the struct forbids them, but a name that looks like a misspelling of a known one is an error.
    """
    body = body.removeprefix(_BOM)
    try:
        json_shape.check(body)
        fields = msgspec.json.decode(body, type=Fields)
        if (name := _repeated(body, len(fields))) is not None:
            raise InvalidInput(f"{name!r:.80} is in the body twice. Send it once.", param=name[:MAX_NAME_LENGTH])
        known, required = _fields_of(into)
        foreign: Mapping[str, ForeignField] = getattr(into, "foreign", {})
        fields = _translate(fields, foreign, known)
        _check_names(fields, foreign, known, strict=into.__struct_config__.forbid_unknown_fields)
        values = {name: _decode(known[name], name, raw) for name, raw in fields.items() if name in known}
        for name in required:
            if name not in values:
                raise InvalidInput(f"The body has no field `{name}`. Send it.", param=name)
        return into(**values)
    except msgspec.ValidationError as error:  # the body is JSON, and no object
        raise InvalidInput(f"The body: {_plain_types(str(error))}.") from None
    except msgspec.DecodeError as error:
        half = "half of a surrogate pair (\\ud800 to \\udfff) is not a character"
        reason = half if _SURROGATE.search(body) else str(error)
        raise InvalidInput(f"The body is not valid JSON: {reason}.") from None
    except UnicodeDecodeError as error:
        raise InvalidInput(f"The body is not valid UTF-8: {error}.") from None
    except RecursionError:
        raise InvalidInput("The body nests lists or objects too deep.") from None


def dumps(value: Any) -> bytes:
    """JSON bytes. float32 arrays are written with the digits that a float32 needs."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)


@cache
def _fields_of(struct: type[msgspec.Struct]) -> tuple[Mapping[str, msgspec.json.Decoder[Any]], Sequence[str]]:
    """(a decoder for each field, the required fields); msgspec takes 100 µs to list them."""
    fields = msgspec.structs.fields(struct)
    decoders = {field.name: msgspec.json.Decoder(field.type) for field in fields}
    return decoders, [field.name for field in fields if field.required]


def _decode(decoder: msgspec.json.Decoder[Any], field: str, raw: msgspec.Raw) -> Any:
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError as error:
        raise _invalid(str(error), field, decoder.type) from None


def _repeated(body: bytes, fields: int) -> str | None:
    """A field that is in the body twice, of which parsers take the last; None if there are only `fields` fields."""
    if len(body) <= INLINE_BYTES and len(_KEY_END.findall(body)) == fields:
        return None
    if json_shape.measure(body).fields == fields:
        return None
    names = json.loads(body, object_pairs_hook=lambda pairs: [key for key, _ in pairs], parse_int=str, parse_float=str)
    return next((name for place, name in enumerate(names) if name in names[:place]), None)


def _invalid(message: str, field: str, annotation: Any) -> InvalidInput:
    """The error for msgspec's message on the value of `field`; the message ends with the place within the value."""
    reason, place = message, field
    if message.endswith("`") and " - at `$" in message:
        reason, _, within = message.rpartition(" - at `$")
        place += within[:-1]
    reason = _plain_types(reason if len(reason) <= MAX_QUOTED else f"{reason[:MAX_QUOTED]}…")
    if reason.startswith("Invalid enum value") and place == field and (values := _literals(annotation)):
        reason += f"; use {', '.join(values)}"
    return InvalidInput(f"{place}: {reason}.", param=field)


def _plain_types(message: str) -> str:
    def plain(found: re.Match[str]) -> str:
        return " or ".join(_TYPE_NAMES.get(name, name) for name in found[1].split(" | "))

    return _TYPES.sub(plain, message)


def _literals(annotation: Any) -> list[str]:
    """The values of a field that has a Literal type."""
    parts = [part for part in (annotation, *get_args(annotation)) if get_origin(part) is Literal]
    return [str(value) for part in parts for value in get_args(part)]


def _translate(fields: Fields, foreign: Mapping[str, ForeignField], known: Mapping[str, Any]) -> Fields:
    """Replace fields of other servers by fields of this one that mean the same."""
    translated: dict[str, bytes] = {}
    present = fields.keys() & foreign.keys()
    for name in sorted(present):
        if len(memoryview(fields[name])) > MAX_IGNORED_BYTES:
            raise InvalidInput(f"{name} is too large.", param=name)
        for own, meaning in foreign[name].translate(name, msgspec.json.decode(fields[name])).items():
            value = msgspec.json.encode(meaning)
            other = translated.get(own) or (bytes(fields[own]) if own in fields and own != name else value)
            if other not in (value, b"null"):
                raise InvalidInput(f"{name} contradicts {own}. Send one of them.", param=name)
            translated[own] = value
    kept = {name: raw for name, raw in fields.items() if name not in present or name in known}
    return kept | {name: msgspec.Raw(value) for name, value in translated.items()}


def _folded(name: str) -> str:
    """A name without the differences between `inputType`, `INPUT_TYPE` and `input_type`."""
    return name.replace("_", "").replace("-", "").lower()


def _check_names(
    fields: Fields, foreign: Mapping[str, ForeignField], known: Mapping[str, Any], *, strict: bool
) -> None:
    """InvalidInput for too many fields, a misspelt field, an unknown field if `strict`, and large ignored fields."""
    if len(fields) > json_shape.MAX_FIELDS:
        raise InvalidInput(f"The body has {len(fields):,} fields; {json_shape.MAX_FIELDS} is the most.")
    unknown = fields.keys() - known.keys()
    if not unknown:
        return
    size, longest = 0, 2 * max(map(len, known))
    spellings = {_folded(name): name for name in (*foreign, *known)}
    for name in unknown:
        if len(name) > MAX_NAME_LENGTH:
            raise InvalidInput(f"A field's name has {len(name):,} characters; {MAX_NAME_LENGTH} is the most.")
        similar = get_close_matches(name, known, 1, NAME_SIMILARITY) if len(name) <= longest else []
        meant = spellings.get(_folded(name)) or next(iter(similar), None)
        if meant is not None:
            raise InvalidInput(f"{name} is not a field here. Did you mean {meant}?", param=name)
        if strict:
            raise InvalidInput(f"{name} is not a field here. The fields are {', '.join(sorted(known))}.", param=name)
        size += len(memoryview(fields[name]))
        if size > MAX_IGNORED_BYTES:
            raise InvalidInput(
                f"{name} is not a field here, and is too large to be ignored ({size:,} bytes). Leave it out.",
                param=name,
            )
