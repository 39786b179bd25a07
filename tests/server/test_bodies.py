"""Bodies are bounded before anything is built of them: depth, values, fields, names, numbers."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from upsize.errors import InvalidInput
from upsize.server import json_shape as shape
from upsize.server.codec import loads
from upsize.server.dialects import OPERATIONS
from upsize.server.dialects.index_bodies import SearchBody
from upsize.server.dialects.openai import EmbeddingsBody

awkward = st.one_of(st.none(), st.booleans(), st.integers(), st.text('"\\[]{},:a\né', max_size=6))
values = st.recursive(
    awkward,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('"\\[{:,', max_size=3), inner, max_size=4),
)


def depth_of(value: Any) -> int:
    if isinstance(value, dict | list):
        return 1 + max(map(depth_of, value.values() if isinstance(value, dict) else value), default=0)
    return 0


def values_of(value: Any) -> int:
    if not isinstance(value, dict | list):
        return 0
    inner = list(value.values()) if isinstance(value, dict) else value
    return 1 + max(len(inner) - 1, 0) + isinstance(value, dict) * len(inner) + sum(map(values_of, inner))


@given(st.dictionaries(st.text(max_size=3), values, max_size=5), st.integers(1, 40), st.booleans())
def test_the_shape_of_a_body_is_found_whatever_its_strings_hold(value: dict[str, Any], block: int, plain: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shape, "BLOCK_BYTES", block)
        found = shape.measure(json.dumps(value, ensure_ascii=plain).encode())
    assert (found.depth, found.fields, found.values) == (depth_of(value), len(value), values_of(value))


def nested(depth: int, kind: str = "[]") -> bytes:
    opening = kind[0] if kind == "[]" else '{"a":'
    return (opening * depth + "1" + kind[1] * depth).encode()


POSTS = [(o.paths[0], o.example) for o in OPERATIONS if o.method == "POST" and o.body is not None]


@pytest.mark.parametrize("kind", ["[]", "{}"])
@pytest.mark.parametrize("depth", [100, 1000, 100_000])
def test_a_body_that_nests_too_deep_is_refused_at_every_path(server: httpx.Client, depth: int, kind: str) -> None:
    for path, example in POSTS:
        field = "filter" if path.endswith("/search") else "metadata"
        body = json.dumps(example | {field: "HERE"}).encode().replace(b'"HERE"', nested(depth, kind))
        reply = server.post(path.replace("{name}", "none"), content=body, headers={"Content-Type": "application/json"})
        assert reply.status_code == 400, (path, reply.text)
        assert "deep" in reply.text


@pytest.mark.parametrize("more", [b"", b" " * 100_000], ids=["small", "large"])
@pytest.mark.parametrize(
    "body",
    [b'{"input":"a","input":"b"}', b'{"input" : "a:", "in\\u0070ut":"b"}', b'{"input":"\\":","user":1,"input":"c"}'],
)
def test_a_field_that_is_there_twice_is_named(body: bytes, more: bytes) -> None:
    with pytest.raises(InvalidInput, match="'input' is in the body twice") as refused:
        loads(body + more, EmbeddingsBody)
    assert refused.value.param == "input"


@given(st.text('":,{}[]\\a ', max_size=20), st.booleans())
def test_no_text_makes_a_field_look_repeated(text: str, large: bool) -> None:
    body = json.dumps({"input": text, "user": {"input": text, "user": [text]}}).encode() + b" " * 50_000 * large
    assert loads(body, EmbeddingsBody).input == text


@pytest.mark.parametrize("body", [b"[" * 50_000, b'{"input":' * 50_000, b'{"input":"' + b"\\" * 70_001])
def test_what_is_no_json_is_refused_as_such(server: httpx.Client, body: bytes) -> None:
    reply = server.post("/v1/embeddings", content=body, headers={"Content-Type": "application/json"})
    assert reply.status_code == 400


def embeddings(**more: Any) -> bytes:
    return json.dumps({"input": "a"} | more).encode()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (embeddings(**{f"f{i}": 1 for i in range(101)}), "102 fields"),
        (embeddings(**{"x" * 300: 1}), "name has 300 characters"),
        (embeddings(notes="x" * 70_000), "notes is not a field here, and is too large"),
        (embeddings(task="x" * 70_000), "task is too large"),
        (embeddings(dimension=64), "Did you mean dimensions?"),
        (
            b'{"input": [' + b"1," * 2_100_000 + b"1]}",
            "2,097,152 is the most",
        ),
        (b'{"input": [' + b"[]," * 270_000 + b"[]]}", "270,003 lists and objects; 262,144 is the most"),
        (b'{"input": "a", "dimensions": ' + b"9" * 400 + b"}", "dimensions: Expected a whole number <= "),
        (b'{"input": "a", "dimensions": ' + b"9" * 5000 + b"}", "dimensions: Integer value out of range"),
        (b'{"input": [1, ' + b"9" * 400 + b"]}", "input"),
        (b'{"input": "a", "dimensions": 1e400}', "dimensions: Number out of range"),
        (b'{"input": "a", "dimensions": NaN}', "not valid JSON"),
        (b'{"input": "a", "user": Infinity}', "not valid JSON"),
        (b'{"input": "\\ud800"}', "not valid"),
        (b'{"input": "a", "encoding_format": "' + b"x" * 9000 + b'"}', "x{250,300}…"),
    ],
)
def test_what_is_too_much_or_no_number_is_refused(body: bytes, message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as caught:
        loads(body, EmbeddingsBody)
    assert len(str(caught.value)) < 1000


def test_the_message_of_a_name_with_the_parsers_own_marks_takes_no_time() -> None:
    name = " - at `" * 30
    loads(json.dumps({"input": "a", name: 1}).encode(), EmbeddingsBody)
    with pytest.raises(InvalidInput, match="is not a field here"):
        loads(json.dumps({"query": "a", name: 1}).encode(), SearchBody)
    many = " - at `" * 100_000
    with pytest.raises(InvalidInput, match="Invalid enum value"):
        loads(json.dumps({"input": "a", "encoding_format": many}).encode(), EmbeddingsBody)


def test_a_hundred_unknown_names_cost_little_and_pass() -> None:
    names = {f"{i:02d}" + "f" * 250: 1 for i in range(98)}
    assert loads(embeddings(**names), EmbeddingsBody).input == "a"


def test_brackets_within_texts_are_no_depth() -> None:
    assert loads(json.dumps({"input": "[{" * 500_000}).encode(), EmbeddingsBody).input == "[{" * 500_000
