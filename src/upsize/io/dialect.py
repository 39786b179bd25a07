"""Finds how a CSV file separates its fields: the user says it, or the file's `sep=` line, or its first rows show it.

A wrong separator would make a whole row one field, and one vector. So a file that fits no separator is refused.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from upsize.errors import InvalidInput
from upsize.io.types import LONGEST

NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
ASKED = {"comma": ",", "semicolon": ";", "tab": "\t", "\\t": "\t", "pipe": "|", "space": " "}
SAMPLE, ROWS = 1 << 20, 200
"""Characters and rows of the sample."""
HEADER, SIGNS = 500, 20
"""Characters of a header of one field that are searched for separators, and the most separators to try."""
FITS = 0.9
"""A separator fits if at least this share of rows has as many fields as the header. Chosen."""
SEP_LINE = re.compile(r'"?sep=(\\t|.)"?[,;\t|]*', re.IGNORECASE)
"""The line that names the separator for Excel."""
QUOTED = re.compile(r'(?:^|\t)"((?:[^"\t\n]|"")*)"(?=\t|\r?$)', re.MULTILINE)
"""A quoted field of TSV, with doubled quotes inside."""


@dataclass(frozen=True)
class Dialect:
    """How rows are split."""

    delimiter: str
    quoted: bool = True
    skip: int = 0
    """Lines to skip before the header."""

    def options(self) -> dict[str, Any]:
        """Return the options of `csv.reader`. With quotes, a misplaced quote is an error instead of a guess."""
        if self.quoted:
            return {"delimiter": self.delimiter, "strict": True}
        return {"delimiter": self.delimiter, "quoting": csv.QUOTE_NONE}

    @property
    def shown(self) -> str:
        """The separator for a message."""
        return NAMES.get(self.delimiter, repr(self.delimiter))


def find_dialect(sample: str, whole: bool, name: str, *, tsv: bool, asked: str | None) -> Dialect:
    """Return the dialect of a file that begins with `sample`; `whole`: the sample is the whole file.

    Raises InvalidInput if no separator fits, or several do.
    """
    first, rest = _first_line(sample)
    sep_line = SEP_LINE.fullmatch(first)
    skip, body = (1, rest) if sep_line else (0, sample)
    if asked is not None:
        return _dialect(asked_delimiter(asked), body, whole, tsv, skip)
    if sep_line:
        dialect = _dialect(asked_delimiter(sep_line[1]), body, whole, tsv, skip)
        if len(split(body, whole, dialect).header) < 2:
            _refuse_unsplit(body, whole, name, tsv)
        return dialect
    return _dialect(_fitting(body, whole, name, tsv), body, whole, tsv, skip)


def asked_delimiter(asked: str) -> str:
    """Return the delimiter that the user names. Raises InvalidInput if it cannot separate fields."""
    delimiter = ASKED.get(asked.lower(), asked)
    if len(delimiter) != 1 or delimiter in '"\r\n\0' or delimiter.isalnum():
        raise InvalidInput(f"--delimiter {asked!r}: give one character such as ';', or {', '.join(ASKED)}.")
    return delimiter


@dataclass(frozen=True)
class Split:
    """The first rows as a delimiter splits them."""

    delimiter: str
    header: Sequence[str]
    counts: Sequence[int]
    """Number of fields of the header and of each row; -1 for a broken row."""

    @property
    def rows(self) -> int:
        """Rows after the header."""
        return max(len(self.counts) - 1, 0)

    @property
    def fit(self) -> float:
        """Share of rows with as many fields as the header; 1 if there are no rows."""
        return sum(count == len(self.header) for count in self.counts[1:]) / self.rows if self.rows else 1.0


def split(sample: str, whole: bool, dialect: Dialect) -> Split:
    """Split the first rows by a dialect. The last row of an incomplete sample is left out."""
    csv.field_size_limit(LONGEST)
    reader = csv.reader(io.StringIO(sample, newline=""), **dialect.options())
    counts: list[int] = []
    header: list[str] = []
    while len(counts) <= ROWS:
        try:
            row = next(reader)
        except StopIteration:
            if not whole and counts:
                counts.pop()
            break
        except csv.Error:
            counts.append(-1)
            continue
        if not row:
            continue
        header = header or row
        counts.append(len(row))
    return Split(dialect.delimiter, header, counts)


def _dialect(delimiter: str, body: str, whole: bool, tsv: bool, skip: int) -> Dialect:
    return Dialect(delimiter, not (tsv and delimiter == "\t") or _quoted_tsv(body, whole), skip)


def _quoted_tsv(body: str, whole: bool) -> bool:
    """Whether a TSV file has quotes around fields; by custom it has none, and a quote is a character of its text.

    They are quotes if the rows fit with them, and either fit worse without, or all fields of the header have some, or
    a field has doubled ones within.
    """
    if '"' not in body:
        return False
    quoted, plain = (split(body, whole, Dialect("\t", q)) for q in (True, False))
    named = all(len(column) > 1 and column[0] == column[-1] == '"' for column in plain.header)
    return quoted.fit >= FITS and (
        named or quoted.fit > plain.fit or any('""' in field[1] for field in QUOTED.finditer(body))
    )


def _fitting(body: str, whole: bool, name: str, tsv: bool) -> str:
    splits = [split(body, whole, Dialect(d, not (tsv and d == "\t"))) for d in NAMES]
    several = [s for s in splits if len(s.header) > 1]
    if not several:
        _refuse_unsplit(body, whole, name, tsv)
        return "\t" if tsv else ","
    fitting = [s for s in several if s.fit >= FITS] or [s for s in several if s.fit == max(x.fit for x in several)]
    if tsv and any(s.delimiter == "\t" for s in fitting):
        return "\t"
    if len(fitting) > 1:
        names = " or ".join(f"{NAMES[s.delimiter]} ({len(s.header)} fields)" for s in fitting)
        raise InvalidInput(f"{name} may be separated by {names}. Say which with --delimiter.")
    return fitting[0].delimiter


def _refuse_unsplit(body: str, whole: bool, name: str, tsv: bool) -> None:
    """Raise InvalidInput if the header is one field, but another separator would split the rows."""
    plain = split(body, whole, Dialect(","))
    header = plain.header[0][:HEADER] if plain.header else ""
    signs = [c for c in dict.fromkeys(header) if not c.isalnum() and c not in "_-.'\"()/&?!" and (c != "\t" or not tsv)]
    for sign in signs[:SIGNS]:
        found = split(body, whole, Dialect(sign))
        names = len({word.lower() for word in found.header} & FIELDS)
        sure = sign != " " or names > 1 or ' "' in body or '\n"' in body  # names have spaces, and so have texts
        if len(found.header) > 1 and found.rows and found.fit >= FITS and sure:
            raise InvalidInput(
                f"{name}: the lines have {len(found.header)} fields each if {sign!r} separates them. Then say "
                f"--delimiter {sign!r}; if each line is one text, --format text."
            )
    for delimiter, least in (("\t", 1), (";", 3), ("|", 3)):
        found = split(body, whole, Dialect(delimiter))
        fields = found.counts[1] if found.rows else 1
        if fields > 1 and found.rows >= least and all(count == fields for count in found.counts[1:]):
            raise InvalidInput(
                f"{name}: the first line has one field, the other lines {fields}, separated by {NAMES[delimiter]}. "
                "The first line has to name the fields. If each line is one field, say --delimiter ','."
            )


def _first_line(text: str) -> tuple[str, str]:
    """(the first line without its end, what follows)."""
    match = re.match(r"([^\r\n]*)(\r\n|\r|\n|$)", text)
    assert match is not None  # it may match nothing
    return match[1], text[match.end() :]


def looks_like_table(sample: str, whole: bool) -> Dialect | None:
    """Return the dialect of a text file whose lines look like a table; None if they do not.

    Tabs are evidence enough where nearly all lines have as many. Prose has commas and semicolons, so with these the
    first line has to name fields.
    """
    first, rest = _first_line(sample)
    if sep_line := SEP_LINE.fullmatch(first):
        return Dialect(ASKED.get(sep_line[1], sep_line[1]), skip=1)
    if not rest.strip():
        return None
    for delimiter in NAMES:
        found = split(sample, whole, Dialect(delimiter, delimiter != "\t"))
        named = {column.strip().lower() for column in found.header} & FIELDS
        if found.rows and len(found.header) > 1 and found.fit >= FITS and (named or delimiter == "\t"):
            return Dialect(delimiter)
    return None


def fields_note(sample: str, whole: bool, name: str) -> str | None:
    """Return a note if the lines of a text file have equally many fields, so that it may be a table without a header.

    None if they differ. Sentences have few vertical bars, some semicolons and many commas, so the thresholds differ.
    """
    for delimiter, lines, fields in (("|", 2, 2), (";", 5, 2), (",", 10, 3)):
        found = split(sample, whole, Dialect(delimiter))
        count = len(found.header)
        if count >= fields and len(found.counts) >= lines and all(c == count for c in found.counts):
            return (
                f"{name}: each line is read as one text. But the lines have {count} fields each if "
                f"{NAMES[delimiter]} separate them: of a table, the first line has to name the fields; then say "
                f"--format csv --delimiter {delimiter!r}."
            )
    return None


FIELDS = frozenset(
    ("_id", "id", "text", "texts", "title", "sentence", "query", "question", "answer", "body", "content", "label",
     "category", "document", "documents", "description", "url", "lang", "language", "score", "passage", "positive",
     "negative", "text1", "text2", "sentence1", "sentence2")
)  # fmt: skip
"""Field names that mark a first line as a header."""
