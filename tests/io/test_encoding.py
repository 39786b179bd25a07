"""Encodings: read rightly, or refused with how the likeliest read; never as other characters."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest

from upsize.errors import InvalidInput
from upsize.io import ReadOptions, open_source
from upsize.io.encoding import detect

TEXTS = {
    "ko": "배송이 너무 늦었어요\n환불을 받고 싶은데요\n비밀번호를 잊어버렸어요\n상품이 고장났어요",
    "ko-hanja": "大韓民國 憲法 第一條\n서울特別市 江南區\n株式會社 三星",
    "ja": "東京の天気は晴れです\n返金をお願いします\nパスワードを忘れました",
    "ko-hanja-alone": "大韓民國憲法第一條\n特別市 江南區\n株式會社 三星",
    "ja-kanji": "東京都知事選挙\n経済産業省\n日本銀行金利\n株式会社",
    "zh": "股市今天大幅上涨\n球队赢得了比赛\n央行宣布降低利率\n咖啡豆是什么东西",
    "zh-tw": "股市今天大幅上漲\n球隊贏得了比賽\n央行宣布降低利率\n這是什麼東西",
    "ru": "Сегодня хорошая погода\nВерните мне деньги, пожалуйста\nЯ забыл пароль",
    "el": "Καλημέρα κόσμε\nΞέχασα τον κωδικό\nΠού είναι ο σταθμός",
    "he": "שלום עולם\nשכחתי את הסיסמה\nאיפה התחנה",
    "ar": "مرحبا بالعالم\nنسيت كلمة المرور\nأين المحطة",
    "th": "สวัสดีชาวโลก\nลืมรหัสผ่าน\nสถานีอยู่ที่ไหน",
    "fr": "Le café est fermé à midi\nJ'ai oublié mon mot de passe\nOù est la gare ?\nélève très doué",
    "de": "Grüße aus München\nDas Gerät funktioniert nicht\nIch möchte mein Geld zurück",
    "pl": "Zażółć gęślą jaźń\nProszę o zwrot pieniędzy\nZapomniałem hasła",
}
OLD = [
    ("ko", "euc-kr"), ("ko", "cp949"), ("ko-hanja", "euc-kr"), ("ko-hanja-alone", "euc-kr"),
    ("ja", "shift_jis"), ("ja", "euc-jp"),
    ("ja-kanji", "shift_jis"), ("ja-kanji", "euc-jp"), ("zh", "gb2312"), ("zh", "gb18030"), ("zh-tw", "big5"),
    ("zh-tw", "gb18030"), ("ru", "cp1251"), ("ru", "koi8-r"), ("ru", "cp866"), ("ru", "iso8859-5"), ("el", "cp1253"),
    ("he", "cp1255"), ("ar", "cp1256"), ("th", "tis-620"), ("fr", "latin-1"), ("fr", "cp1252"), ("fr", "cp850"),
    ("de", "latin-1"), ("pl", "cp1250"), ("pl", "iso8859-2"),
]  # fmt: skip


@pytest.mark.parametrize("times", [1, 40])
@pytest.mark.parametrize(("language", "encoding"), OLD)
def test_old_encodings_are_read_rightly_or_not_at_all(language: str, encoding: str, times: int) -> None:
    text = "text,label\n" + "\n".join(f"{line},a" for line in TEXTS[language].split("\n") * times)
    data = text.encode(encoding)
    try:
        found = detect(io.BytesIO(data), "d.csv")
    except InvalidInput as error:
        shown = re.findall(r"as (\w+) it reads '(.*?)'", str(error))
        line = f"{TEXTS[language].split(chr(10))[0]},a"
        assert line[:40].strip() in dict(shown).values(), "the right reading is not among those shown"
        assert len(shown) <= 3
        assert len({reading for _, reading in shown}) == len(shown)
        advice = str(error).partition("Say the encoding")[2]
        recommended = re.findall(r"(\w+) would be", advice)
        assert recommended, "says nothing"
        assert set(recommended) <= dict(shown).keys(), "recommends what it has not shown"
        return
    read = data.decode(found.name, found.errors)
    for said, was in zip(read.split("\n"), text.split("\n"), strict=True):
        assert said == was or found.row_error(said), "other characters, and no fault"


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_row_in_another_encoding_shows_how_it_may_read(tmp_path: Path, mark: bytes) -> None:
    path = tmp_path / "d.csv"
    path.write_bytes(mark + b"text\n" + b"plain\n" * 20 + "Grüße aus Köln\nniño\n".encode("cp1252"))
    *good, first, second = open_source(path, "d.csv").records()
    assert all(record.row_error is None for record in good)
    assert "not UTF-8 (byte 0xfc at position 3); as cp1252 it reads 'Grüße aus Köln'" in str(first.row_error)
    assert "as cp1252 it reads 'niño'" in str(second.row_error)


def test_bytes_of_no_encoding_show_no_reading(tmp_path: Path) -> None:
    path = tmp_path / "d.txt"
    path.write_bytes(b"a\xff\xfe\x81\x8d\x80b\n" * 3)
    faults = [record.row_error for record in open_source(path, "d.txt").records()]
    assert faults == ["not UTF-8 (byte 0xff at position 2)"] * 3


@pytest.mark.parametrize("language", ["zh", "ko", "ru", "fr", "ja"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_unicode_needs_no_word(language: str, encoding: str) -> None:
    data = f"text,label\n{TEXTS[language]}\n".encode(encoding)
    found = detect(io.BytesIO(data), "d.csv")
    assert data.decode(found.name) == f"text,label\n{TEXTS[language]}\n"


def test_a_korean_file_is_refused_and_read_when_told(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_bytes(f"text\n{TEXTS['ko']}\n".encode("euc-kr"))
    with pytest.raises(
        InvalidInput, match=r"d\.csv, line 2: not UTF-8 \(byte 0xb9 at .*; as cp949 it reads '배송이 너무"
    ):
        list(open_source(path, "d.csv").records())
    told = open_source(path, "d.csv", reading=ReadOptions("euc-kr"))
    assert [r.fields["text"] for r in told.records()] == TEXTS["ko"].split("\n")
    assert told.notes == ("d.csv is read as euc-kr, as asked.",)
    wrong = open_source(path, "d.csv", reading=ReadOptions("ascii"))
    assert all(r.row_error and "not ascii (byte 0x" in r.row_error for r in wrong.records())


@pytest.mark.parametrize(("language", "encoding"), [("ja", "iso2022_jp"), ("ko", "iso2022_kr"), ("zh", "hz")])
def test_encodings_of_seven_bits_are_refused_and_read_when_told(tmp_path: Path, language: str, encoding: str) -> None:
    path = tmp_path / "d.csv"
    path.write_bytes(f"text\n{TEXTS[language]}\n".encode(encoding))
    with pytest.raises(InvalidInput, match=r"d\.csv, line \d: escapes of an encoding of seven bits.* --encoding"):
        list(open_source(path, "d.csv").records())
    told = open_source(path, "d.csv", reading=ReadOptions(encoding))
    assert next(iter(told.records())).fields["text"] == TEXTS[language].split("\n")[0]


def test_escapes_of_a_terminal_are_text(tmp_path: Path) -> None:
    path = tmp_path / "d.txt"
    path.write_bytes(b"\x1b[31mred\x1b[0m\n")
    assert [r.fields["text"] for r in open_source(path, "d.txt").records()] == ["\x1b[31mred\x1b[0m"]


@pytest.mark.parametrize("name", ["klingon", "base64", "rot13", "hex", "", "utf\0", "undefined"])
def test_what_is_no_text_encoding(tmp_path: Path, name: str) -> None:
    path = tmp_path / "d.txt"
    path.write_text("text\n")
    with pytest.raises(InvalidInput, match="is not a known encoding"):
        list(open_source(path, "d.txt", reading=ReadOptions(name)).records())


def test_a_stray_nul_does_not_make_it_utf_16(tmp_path: Path) -> None:
    path = tmp_path / "d.txt"
    path.write_bytes(b"one\ntw\0o\nthree\n")
    assert [(r.fields.get("text"), r.row_error) for r in open_source(path, "d.txt").records()] == [
        ("one", None),
        (None, "a NUL byte at position 3: not text"),
        ("three", None),
    ]
