"""Values of Parquet files: as plain values, exactly, without pandas."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow
import pytest
from pyarrow import parquet

from upsize.errors import InvalidInput
from upsize.io import open_source

MOMENT = datetime(2024, 5, 6, 7, 8, 9, 123456)


def read(path: Path, **columns: Any) -> list[dict[str, Any] | str]:
    parquet.write_table(pyarrow.table(columns), path)
    return [record.row_error or record.fields for record in open_source(path, path.name).records()]


@pytest.mark.parametrize(
    ("kind", "value", "plain"),
    [
        (pyarrow.timestamp("s"), MOMENT.replace(microsecond=0), "2024-05-06T07:08:09"),
        (pyarrow.timestamp("ms"), 1, "1970-01-01T00:00:00.001000"),
        (pyarrow.timestamp("us"), MOMENT, "2024-05-06T07:08:09.123456"),
        (pyarrow.timestamp("ns"), MOMENT, "2024-05-06T07:08:09.123456"),
        (pyarrow.timestamp("ns"), 1, "1970-01-01T00:00:00.000000001"),
        (pyarrow.timestamp("ns"), -1, "1969-12-31T23:59:59.999999999"),
        (pyarrow.timestamp("ns", "UTC"), 10**9 + 1, "1970-01-01T00:00:01.000000001+00:00"),
        (pyarrow.timestamp("ns", "+02:00"), 10**9, "1970-01-01T02:00:01+02:00"),
        (pyarrow.timestamp("us", "UTC"), MOMENT.replace(tzinfo=UTC), "2024-05-06T07:08:09.123456+00:00"),
        (pyarrow.date32(), date(2024, 5, 6), "2024-05-06"),
        (pyarrow.date64(), date(2024, 5, 6), "2024-05-06"),
        (pyarrow.time32("s"), time(7, 8, 9), "07:08:09"),
        (pyarrow.time64("ns"), 1_000_000_001, "00:00:01.000000001"),
        (pyarrow.duration("ns"), 1_500_000_001, "PT1.500000001S"),
        (pyarrow.duration("us"), timedelta(days=-1), "-PT86400S"),
        (pyarrow.decimal128(10, 2), Decimal("1.10"), "1.10"),
        (pyarrow.decimal128(38, 0), Decimal(10**37 + 1), str(10**37 + 1)),
        (pyarrow.decimal256(60, 30), Decimal("0." + "0" * 29 + "1"), "0." + "0" * 29 + "1"),
        (pyarrow.float16(), 1.5, 1.5),
        (pyarrow.uint64(), 2**64 - 1, 2**64 - 1),
        (pyarrow.uuid(), UUID(int=1).bytes, "00000000-0000-0000-0000-000000000001"),
        (pyarrow.list_(pyarrow.timestamp("ns")), [1, None], ["1970-01-01T00:00:00.000000001", None]),
        (pyarrow.list_(pyarrow.date32(), 2), [date(2024, 5, 6), None], ["2024-05-06", None]),
        (pyarrow.struct([("a", pyarrow.decimal128(3, 1)), ("b", pyarrow.string())]), {"a": Decimal("1.5"), "b": "x"},
         {"a": "1.5", "b": "x"}),
        (pyarrow.map_(pyarrow.string(), pyarrow.date32()), [("a", date(2024, 5, 6))], {"a": "2024-05-06"}),
        (pyarrow.dictionary(pyarrow.int8(), pyarrow.string()), "x", "x"),
    ],
)  # fmt: skip
def test_values_are_plain_and_exact(tmp_path: Path, kind: Any, value: Any, plain: Any) -> None:
    column = pyarrow.array([value, None], kind)
    first, second = read(tmp_path / "d.parquet", text=["a", "b"], more=column)
    assert first == {"text": "a", "more": plain}
    assert second == {"text": "b", "more": None}
    assert json.loads(json.dumps(plain)) == plain


def test_a_date_beyond_the_calendar_is_its_rows_fault(tmp_path: Path) -> None:
    far = pyarrow.array([10**8, 1], pyarrow.date32())
    first, second = read(tmp_path / "d.parquet", text=["a", "b"], day=far)
    assert str(first).startswith("a value that cannot be read ('day': ")
    assert second == {"text": "b", "day": "1970-01-02"}


def test_a_map_with_a_key_twice_is_its_rows_fault(tmp_path: Path) -> None:
    pairs = pyarrow.array([[("a", 1), ("a", 2)], [("a", 1)]], pyarrow.map_(pyarrow.string(), pyarrow.int64()))
    first, second = read(tmp_path / "d.parquet", text=["a", "b"], more=pairs)
    assert "'more': a key of a map or struct is there twice" in str(first)
    assert second == {"text": "b", "more": {"a": 1}}


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    table = pyarrow.Table.from_arrays([pyarrow.array(["a"]), pyarrow.array(["b"])], names=["text", "text"])
    parquet.write_table(table, tmp_path / "d.parquet")
    with pytest.raises(InvalidInput, match=r"d\.parquet: 2 columns are named 'text'"):
        list(open_source(tmp_path / "d.parquet", "d.parquet").records())
