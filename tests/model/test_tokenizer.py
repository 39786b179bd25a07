"""TextTokenizer gives the published ids, and says what is wrong with a file that is none."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.checkpoints import SENTENCES, Layout, tokenizer_of
from upsize.catalog.instructions import QUERY_FORM, RERANK_PREFIX, RERANK_SUFFIX, WEB_SEARCH
from upsize.catalog.references import TOKEN_IDS
from upsize.errors import CheckpointError
from upsize.model import EmbeddingPrompts, Truncation
from upsize.model.encoding import encode_pairs, encode_texts
from upsize.model.tokenizer import TextTokenizer

CAPITAL = (
    "641 1235 25 16246 264 3482 2711 3239 11 17179 9760 46769 429 4226 279 3239 198 2859 25 "
    "3838 374 279 6722 315 5616 30 151643"
)
GRAVITY = (
    "641 1235 25 16246 264 3482 2711 3239 11 17179 9760 46769 429 4226 279 3239 198 2859 25 840 20772 23249 151643"
)
PREFIX = (
    "151644 8948 198 60256 3425 279 11789 20027 279 8502 3118 389 279 11361 323 279 758 1235 3897 13 7036 429 279 4226 "
    "646 1172 387 330 9693 1 476 330 2152 3263 151645 198 151644 872 198"
)
SUFFIX = "151645 198 151644 77091 198 151667 271 151668 271"


def ids(text: str) -> list[int]:
    return [int(i) for i in text.split()]


def test_the_query_prefix_is_the_published_91_bytes() -> None:
    prefix = QUERY_FORM.format(instruction=WEB_SEARCH).encode()
    assert len(prefix) == 91
    assert hashlib.sha256(prefix).hexdigest() == "9fab7feb99edb69f560d85cf1bb849dd556c37f383d0336574f78f1303e90740"


def test_all_46_published_strings_have_their_ids(qwen_tokenizer: TextTokenizer, shared_data: Path) -> None:
    folder = shared_data / "data" / "qwen-tokenizer"
    stored = (folder / "ggml-vocab-qwen2.gguf.inp").read_bytes().decode()
    texts = stored.split("\n__ggml_vocab_test__\n")[:-1]
    expected = [ids(line) for line in (folder / "ggml-vocab-qwen2.gguf.out").read_text().split("\n")[: len(texts)]]
    assert len(texts) == 46
    assert [qwen_tokenizer.encode(text).tolist() for text in texts] == expected
    assert [e.tolist() for e in qwen_tokenizer.encode_batch(texts)] == expected


@pytest.mark.parametrize(
    ("query", "expected", "count"),
    [("What is the capital of China?", CAPITAL, 27), ("Explain gravity", GRAVITY, 23)],
)
def test_published_query_ids(qwen_tokenizer: TextTokenizer, query: str, expected: str, count: int) -> None:
    prefix = EmbeddingPrompts().prefix("query", None)
    (encoded,) = encode_texts(qwen_tokenizer, [query], prefix, 8192, Truncation())
    assert encoded.ids.tolist() == ids(expected)
    assert len(encoded.ids) == count


def test_published_document_ids(qwen_tokenizer: TextTokenizer) -> None:
    encoded = encode_texts(qwen_tokenizer, list(TOKEN_IDS), "", 8192, Truncation())
    assert [tuple(e.ids.tolist()) for e in encoded] == list(TOKEN_IDS.values())


def test_published_rerank_template_ids(qwen_tokenizer: TextTokenizer) -> None:
    assert qwen_tokenizer.encode(RERANK_PREFIX).tolist() == ids(PREFIX)
    assert qwen_tokenizer.encode(RERANK_SUFFIX).tolist() == ids(SUFFIX)
    assert (len(ids(PREFIX)), len(ids(SUFFIX))) == (39, 9)
    assert (qwen_tokenizer.token_id("yes"), qwen_tokenizer.token_id("no")) == (9693, 2152)
    (pair,) = encode_pairs(qwen_tokenizer, WEB_SEARCH, "What is it?", ["A thing."], 8192, Truncation())
    assert pair.ids.tolist()[:39] == ids(PREFIX)
    assert pair.ids.tolist()[-9:] == ids(SUFFIX)
    body = f"<Instruct>: {WEB_SEARCH}\n<Query>: What is it?\n<Document>: A thing."
    assert qwen_tokenizer.decode(pair.ids[39:-9]) == body


def test_the_published_tokenizer_has_151669_ids(qwen_tokenizer: TextTokenizer) -> None:
    assert qwen_tokenizer.size == 151669
    assert qwen_tokenizer.end_id == 151643


def test_decoding_gives_the_text_back_in_nfc(tokenizer: TextTokenizer) -> None:
    for text in SENTENCES:
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.decode(tokenizer.encode("e\u0301")) == "\u00e9"


def test_a_batch_is_its_texts(tokenizer: TextTokenizer) -> None:
    assert [e.tolist() for e in tokenizer.encode_batch(SENTENCES)] == [tokenizer.encode(t).tolist() for t in SENTENCES]
    assert tokenizer.encode_batch([]) == []


def test_the_end_rule_is_seen_and_changes_the_digest(tmp_path: Path) -> None:
    found = {}
    for appends in (True, False):
        path = tmp_path / f"{appends}.json"
        tokenizer_of(Layout(end_rule=appends)).save(str(path))
        found[appends] = TextTokenizer(path)
    assert found[True].appends_end
    assert not found[False].appends_end
    assert found[True].digest != found[False].digest
    assert found[True].encode("Hello").tolist() == found[False].encode("Hello").tolist()


@pytest.mark.parametrize(
    ("content", "finding"),
    [
        (None, "no such file"),
        (b"{", "an unreadable one"),
        (b"\xff\xfe", "an unreadable one"),
        (b'{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}', "none: another model's tokenizer?"),
    ],
)
def test_what_is_no_tokenizer(tmp_path: Path, content: bytes | None, finding: str) -> None:
    path = tmp_path / "tokenizer.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=finding) as caught:
        TextTokenizer(path)
    assert str(path) in str(caught.value)
    assert "expected" in str(caught.value)
