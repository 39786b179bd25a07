"""Values of Arrow columns as plain values that JSON has too: what a record of a Parquet file holds.

Times become ISO 8601 strings, and decimals their digits as a string, since a float would round both. Bytes stay bytes:
whoever cannot take them says so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

DIGITS = {"s": 0, "ms": 3, "us": 6, "ns": 9}
"""Unit → digits of a fraction of a second."""
Reader = Callable[[Any], Any]
"""Of one scalar of Arrow, which is not null."""


def values_of(pyarrow: Any, column: Any) -> list[Any]:
    """An array's values in order. Raises ValueError where one cannot be held."""
    read = _reader(pyarrow, column.type)
    if read is None:
        values: list[Any] = column.to_pylist()
        return values
    return [read(scalar) if scalar.is_valid else None for scalar in column]


def _reader(pyarrow: Any, kind: Any) -> Reader | None:
    """How a scalar of this type is read; None for a type that Arrow's own conversion makes plain values of."""
    types = pyarrow.types
    if types.is_dictionary(kind):
        inner = _reader(pyarrow, kind.value_type)
        return None if inner is None else lambda scalar: _read(inner, scalar.value)
    if types.is_map(kind):
        key, item = (_reader(pyarrow, k) for k in (kind.key_type, kind.item_type))
        return lambda scalar: _object([(_read(key, e[0]), _read(item, e[1])) for e in scalar.values])
    if types.is_struct(kind):
        fields = [(field.name, _reader(pyarrow, field.type)) for field in kind]
        if all(inner is None for _, inner in fields):
            return None
        return lambda scalar: _object([(name, _read(r, scalar[i])) for i, (name, r) in enumerate(fields)])
    if hasattr(kind, "value_type"):  # every kind of list
        element = _reader(pyarrow, kind.value_type)
        return None if element is None else lambda scalar: [_read(element, e) for e in scalar.values]
    return next((read for is_kind, read in _plain(types) if is_kind(kind)), None)


def _plain(types: Any) -> list[tuple[Callable[[Any], bool], Reader]]:
    return [
        (types.is_decimal, lambda scalar: format(scalar.as_py(), "f")),
        (types.is_date, lambda scalar: scalar.as_py().isoformat()),
        (types.is_timestamp, _timestamp),
        (types.is_time, _time),
        (types.is_duration, _duration),
        (types.is_float16, lambda scalar: float(scalar.as_py())),
        (lambda kind: getattr(kind, "extension_name", None) == "arrow.uuid", lambda scalar: str(scalar.as_py())),
    ]


def _read(reader: Reader | None, scalar: Any) -> Any:
    if not scalar.is_valid:
        return None
    return scalar.as_py() if reader is None else reader(scalar)


def _object(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key of a map or struct is there twice")
    return found


def _timestamp(scalar: Any) -> str:
    if scalar.type.unit != "ns":
        return str(scalar.as_py().isoformat())
    # Python has microseconds. Arrow's own cast keeps the time zone.
    whole, rest = divmod(scalar.value, 1000)
    import pyarrow

    moment = pyarrow.scalar(whole, pyarrow.int64()).cast(pyarrow.timestamp("us", scalar.type.tz)).as_py()
    return _with_nanoseconds(moment, rest)


def _time(scalar: Any) -> str:
    if scalar.type.unit != "ns":
        return str(scalar.as_py().isoformat())
    whole, rest = divmod(scalar.value, 1000)
    import pyarrow

    return _with_nanoseconds(pyarrow.scalar(whole, pyarrow.int64()).cast(pyarrow.time64("us")).as_py(), rest)


def _with_nanoseconds(moment: Any, rest: int) -> str:
    """A date and time, or a time of the day, in ISO 8601; `rest` are the nanoseconds beyond its microseconds."""
    if not rest:
        return str(moment.isoformat())
    text = str(moment.isoformat(timespec="microseconds"))
    place = text.index(".") + 7
    return f"{text[:place]}{rest:03d}{text[place:]}"


def _duration(scalar: Any) -> str:
    """Seconds, as ISO 8601 writes them: `PT93784.5S`."""
    digits = DIGITS[scalar.type.unit]
    whole, rest = divmod(abs(scalar.value), 10**digits)
    fraction = f".{rest:0{digits}d}".rstrip("0") if rest else ""
    return f"{'-' * (scalar.value < 0)}PT{whole}{fraction}S"
