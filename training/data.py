"""Reads the training sources (licence classes P and SA only) into two files of rows.

`distil.jsonl`: rows {"text", "english", "lang", "source"}. The student's vector of `text` is to meet the teacher's
vector of `english`; for English rows the two are the same text, for a translation `english` is its English side.
`pairs.jsonl`: rows {"query", "passage", "lang", "source"} for the contrastive loss and the reranker.
Texts that also stand in evaluation data are removed (see decontaminate.py) and the removals counted in `data.json`.
Disfl-QA is left out: its questions are about the paragraphs of XQuAD.
"""

import csv
import gzip
import hashlib
import html
import io
import json
import random
import re
import tarfile
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .decontaminate import Decontaminator, sentences

SEED = 20
SHORT, LONG = 400, 700  # characters of a sentence-like text and of a passage
LANGUAGES = {"zh": "zh-cn", "ja": "ja", "ko": "ko", "es": "es", "fr": "fr", "pt": "pt-br", "it": "it", "uk": "uk",
             "tr": "tr", "id": "id", "pl": "pl"}  # fmt: skip
SIB_CODES = {"zh": "zho_Hans", "zh-Hant": "zho_Hant", "ja": "jpn_Jpan", "ko": "kor_Hang", "es": "spa_Latn",
             "fr": "fra_Latn", "pt": "por_Latn", "it": "ita_Latn", "uk": "ukr_Cyrl", "de": "deu_Latn",
             "ru": "rus_Cyrl"}  # fmt: skip
LICENCES = {  # class of every source that is read, for the card
    "tatoeba": "P", "python-docs": "P", "security-101": "P", "cldr-names": "P", "omw-lexicon": "SA", "cc-cedict": "SA",
    "oewn": "P", "wiki-split": "SA", "opentriviaqa": "SA", "medquad": "P", "factbook": "P", "openstax": "P",
    "gsm8k": "P", "tldr": "P", "nl2bash": "P", "thealgorithms": "P", "dc-code": "P", "peps": "P", "laws-zh": "P",
    "pingcap-docs": "SA", "sib200": "SA", "gesetze-de": "P",
}  # fmt: skip


@dataclass
class Distil:
    """A text of the student and the English text whose teacher vector it should meet."""

    text: str
    english: str
    lang: str
    source: str


@dataclass
class TrainingPair:
    """A query and a passage that answers it."""

    query: str
    passage: str
    lang: str
    source: str


Row = Distil | TrainingPair


def clean(text: str, limit: int = LONG) -> str:
    """One line, single spaces, cut to `limit` characters at a sentence end or space when there is one near."""
    text = re.sub(r"\s+", " ", html.unescape(text)).strip()
    if len(text) <= limit:
        return text
    cut = max(text.rfind(mark, limit // 2, limit) for mark in (". ", "。", "；", "; "))
    if cut < 0:
        cut = text.rfind(" ", limit // 2, limit)
    return text[: cut + 1 if cut > 0 else limit].strip()


def kept_for_training(key: str) -> bool:
    """Half of every source that others also evaluate on (laws, PEPs), chosen by a hash of the law's name."""
    return hashlib.md5(key.encode(), usedforsecurity=False).digest()[0] % 2 == 0


def jsonl(path: Path) -> Iterator[dict]:
    """The rows of a JSON lines file."""
    with path.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def read_bitext(train: Path, shared: Path) -> Iterator[Row]:
    """Sentences with their translations: Tatoeba, Python documentation, Security-101, SIB-200 (train split)."""
    for line in (train / "multi-cmn-eng-tatoeba/cmn.txt").read_text(encoding="utf-8").splitlines():
        english, chinese = line.split("\t")[:2]
        yield Distil(english, english, "en", "tatoeba")
        yield Distil(chinese, english, "zh", "tatoeba")
    for lang, name in LANGUAGES.items():
        for line in (train / f"python-docs-bitext/en-{name}.tsv").read_text(encoding="utf-8").split("\n"):
            english, _, foreign = line.partition("\t")
            if 8 <= len(english) <= SHORT and foreign and foreign != english:
                yield Distil(english, english, "en", "python-docs")
                yield Distil(foreign, english, lang, "python-docs")
    yield from read_security_101(train / "security-101-50langs/security-101-md.tar.xz")
    english_side = dict(read_sib(shared, "eng_Latn"))
    for english in english_side.values():
        yield Distil(english, english, "en", "sib200")
    for lang, code in SIB_CODES.items():
        for key, foreign in read_sib(shared, code):
            yield Distil(foreign, english_side[key], lang, "sib200")


def read_sib(shared: Path, code: str) -> Iterator[tuple[str, str]]:
    """(index, sentence) of the SIB-200 training split in one language."""
    with (shared / f"bitext/sib200/{code}/train.tsv").open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE):
            yield row["index_id"], row["text"]


def read_security_101(archive: Path) -> Iterator[Row]:
    """Paragraphs aligned by position, where a file has as many in both languages."""
    documents: dict[str, dict[str, list[str]]] = defaultdict(dict)
    with tarfile.open(archive) as tar:
        for member in tar:
            if not member.isfile():
                continue
            path = member.name.removeprefix("./")
            lang = path.split("/")[1] if path.startswith("translations/") else "en"
            file = tar.extractfile(member)
            if lang in {"en", "zh", "tw", "ja", "ko", "es", "fr", "de", "pt", "it", "ru", "uk"} and file:
                documents[Path(path).name][lang] = paragraphs(file.read().decode("utf-8"))
    for versions in documents.values():
        english = versions.get("en", [])
        for lang, foreign in versions.items():
            if len(foreign) != len(english):
                continue
            for theirs, ours in zip(foreign, english, strict=True):
                if 8 <= len(ours) <= SHORT and theirs:
                    yield Distil(theirs, ours, {"tw": "zh-Hant"}.get(lang, lang), "security-101")


def paragraphs(markdown: str) -> list[str]:
    """The plain text of each block of a Markdown file."""
    blocks = [
        block for block in re.split(r"\n\s*\n", markdown) if not re.match(r"\s*(\[!\[|!\[|\*\*Disclaimer|<)", block)
    ]
    return [re.sub(r"[*#`>|]+|\[([^\]]*)\]\([^)]*\)", r"\1", block).strip() for block in blocks]


def read_words(train: Path) -> Iterator[Row]:
    """Dictionary entries: CC-CEDICT, Open Multilingual Wordnet (Wiktionary), CLDR names."""
    with gzip.open(train / "cc-cedict/cedict_1_0_ts_utf-8_mdbg.txt.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            match = re.match(r"(\S+) (\S+) \[[^\]]*\] /(.*)/", line)
            if not match or line.startswith("#"):
                continue
            glosses = [re.sub(r"\[[^\]]*\]|\S+\|", "", gloss) for gloss in match[3].split("/")]
            glosses = [g for g in glosses if not re.match(r"(CL:|variant of|old variant|see |surname )", g)]
            if glosses:
                english = clean("; ".join(glosses[:3]), 160)
                yield Distil(match[2], english, "zh", "cc-cedict")
                if match[1] != match[2]:
                    yield Distil(match[1], english, "zh-Hant", "cc-cedict")
    codes = {"cmn": "zh", "jpn": "ja", "kor": "ko", "spa": "es", "fra": "fr", "deu": "de", "por": "pt", "ita": "it"}
    for row in jsonl(train / "omw-wikt-lexicon/omw_wikt.jsonl"):
        if "eng" in row:
            english = ", ".join(row["eng"][:3])
            for code, lang in codes.items():
                for word in row.get(code, [])[:3]:
                    yield Distil(word, english, lang, "omw-lexicon")
    for row in jsonl(train / "cldr-names/cldr_names.jsonl"):
        english = row["names"].get("en")
        for lang in ("zh", "zh-Hant", "ja", "ko", "es", "fr", "pt", "it", "uk", "de", "ru"):
            if english and lang in row["names"]:
                yield Distil(row["names"][lang], english, lang, "cldr-names")


def read_english(train: Path) -> Iterator[Row]:
    """English definitions, questions, sentences and passages."""
    for row in jsonl(train / "oewn-definitions/oewn.jsonl"):
        definition, term = clean(row["definition"], SHORT), ", ".join(row["members"][:3])
        yield Distil(definition, definition, "en", "oewn")
        yield Distil(f"{term}: {definition}", f"{term}: {definition}", "en", "oewn")
        yield TrainingPair(f"definition of {row['members'][0]}", definition, "en", "oewn")
        for example in row.get("examples", [])[:2]:
            if isinstance(example, str) and len(example) > 20:
                yield Distil(example, example, "en", "oewn")
    for name in ("tune", "validation", "test"):
        for line in (train / f"wiki-split/{name}.tsv").read_text(encoding="utf-8").splitlines():
            whole, _, split = (detokenize(side) for side in line.partition("\t"))
            parts = [part.strip() for part in split.split("<::::>")]
            for text in (whole, *parts):
                yield Distil(text, text, "en", "wiki-split")
            yield TrainingPair(parts[-1], whole, "en", "wiki-split")
    for path in sorted((train / "opentriviaqa").iterdir()):
        if path.suffix != ".txt":
            body = path.read_bytes().decode("utf-8", errors="replace").replace("\ufffd", "'")
            for question, answer in re.findall(r"#Q (.+?)\n\^ (.+?)\n", body, flags=re.DOTALL):
                question = clean(question, SHORT)
                yield Distil(question, question, "en", "opentriviaqa")
                yield Distil(f"{question} {answer}", f"{question} {answer}", "en", "opentriviaqa")
    for row in jsonl(train / "gsm8k/train.jsonl"):
        answer = clean(re.sub(r"<<[^>]*>>|####.*", "", row["answer"]))
        yield TrainingPair(clean(row["question"], SHORT), answer, "en", "gsm8k")


def detokenize(text: str) -> str:
    """Undo the Penn-style tokens of wiki-split: quotes, spaces before punctuation."""
    text = text.replace("''", '"')
    return re.sub(r"\s+([.,;:!?)])", r"\1", text).replace("( ", "(").strip()


def read_passages(train: Path, shared: Path) -> Iterator[Row]:
    """Questions, headings and fields with the passage that answers them; Chinese and English."""
    for row in jsonl(train / "medquad/medquad.jsonl"):
        yield TrainingPair(clean(row["q"], SHORT), clean(row["a"]), "en", "medquad")
    for row in jsonl(train / "factbook/factbook.jsonl"):
        if len(row["text"]) > 60:
            yield TrainingPair(
                f"{row['field']} of {row['country']}", clean(f"{row['country']}: {row['text']}"), "en", "factbook"
            )
    for row in jsonl(train / "openstax/openstax.jsonl"):
        if row["type"] == "term":
            yield TrainingPair(f"what is {row['term']}?", clean(row["meaning"]), "en", "openstax")
        elif row["type"] == "qa":
            yield TrainingPair(clean(row["q"], SHORT), clean(row["a"]), "en", "openstax")
        else:
            for start in range(0, min(len(row["text"]), 6000), 1200):
                passage = clean(row["text"][start : start + 1200])
                if len(passage) > 100:
                    yield TrainingPair(f"{row['title']} {row['heading']}".strip(), passage, "en", "openstax")
    for row in jsonl(train / "pingcap-docs-zh/docs_zh.jsonl"):
        if len(row["text"]) > 30:
            yield TrainingPair(
                f"{row['title']} {row['heading']}".strip(), clean(row["text"], 350), "zh", "pingcap-docs"
            )
            if row["summary"]:
                yield TrainingPair(clean(row["summary"], 200), clean(row["text"], 350), "zh", "pingcap-docs")
    for row in jsonl(shared / "legal/laws-zh/laws.jsonl"):
        if kept_for_training(row["title"]):
            articles = re.findall(r"^第\S+条\s+(.+)$", row["text"], flags=re.MULTILINE)
            for article in articles[:60]:
                if len(article) > 40:
                    yield TrainingPair(
                        row["title"].removeprefix("中华人民共和国"), clean(article, 350), "zh", "laws-zh"
                    )


def read_code_and_law(data: Path) -> Iterator[Row]:
    """Command descriptions, functions, English law and PEP sections."""
    english = {}
    tldr = list(
        csv.DictReader((data / "code/tldr/tldr.tsv").open(encoding="utf-8"), delimiter="\t", quoting=csv.QUOTE_NONE)
    )
    for row in tldr:
        if row["lang"] == "en":
            english[row["command_name"], row["command"]] = row["description"]
            yield Distil(row["description"], row["description"], "en", "tldr")
            yield TrainingPair(f"{row['command_name']}: {row['description']}", row["command"], "en", "tldr")
    for row in tldr:
        ours = english.get((row["command_name"], row["command"]))
        lang = {"zh_TW": "zh-Hant", "pt_BR": "pt"}.get(row["lang"], row["lang"])
        if ours and lang in {"zh", "zh-Hant", "ja", "ko", "es", "fr", "pt", "it", "de", "ru"}:
            yield Distil(row["description"], ours, lang, "tldr")
            yield TrainingPair(f"{row['command_name']}: {row['description']}", row["command"], lang, "tldr")
    natural = (data / "code/nl2bash/all.nl").read_text(encoding="utf-8").splitlines()
    for text, command in zip(
        natural, (data / "code/nl2bash/all.cm").read_text(encoding="utf-8").splitlines(), strict=True
    ):
        yield TrainingPair(clean(text, SHORT), clean(command, 200), "en", "nl2bash")
    for row in jsonl(data / "code/thealgorithms/python_doc_code.jsonl"):
        yield TrainingPair(clean(row["doc"], 200), row["code"][:LONG], "en", "thealgorithms")
    for row in jsonl(data / "legal/dc-code-en/dc_code_6000.jsonl"):
        if kept_for_training(row["id"]) and len(row["text"]) > 60:
            yield TrainingPair(row["heading"], clean(row["text"]), "en", "dc-code")
    for path in sorted((data / "legal/gesetze-de").glob("*.jsonl")):
        for law in jsonl(path):
            if kept_for_training(law["title"]):
                for heading, text in law["sections"][:60]:
                    title = re.sub(r"^§+\s*\S+\s*", "", heading)
                    if len(title) > 5 and len(text) > 60:
                        yield TrainingPair(title, clean(text), "de", "gesetze-de")
    for row in jsonl(data / "legal/peps-long/peps.jsonl"):
        if kept_for_training(row["title"]):
            for heading, text in row["sections"]:
                if len(text) > 150:
                    yield TrainingPair(f"{row['title']}: {heading}", clean(text), "en", "peps")


def evaluation_texts(shared: Path) -> Iterator[str]:
    """Every text of the evaluation folders: all strings of their JSON, CSV and TSV files (training splits left out)."""
    for folder in ("sts", "retrieval", "bitext", "class"):
        for path in sorted((shared / folder).rglob("*")):
            if (
                not path.is_file()
                or re.search(r"SOURCE|LICEN|README|CC-BY|qrel|readme", path.name)
                or "train" in path.name
            ):
                continue
            if path.suffix == ".zip":
                with zipfile.ZipFile(path) as archive:
                    for name in archive.namelist():
                        if name.endswith((".json", ".jsonl", ".csv", ".txt")) and "train" not in name:
                            yield from strings(name, archive.read(name))
            else:
                yield from strings(path.name, path.read_bytes())
    cosqa = shared / "code/cosqa"
    yield from json.loads((cosqa / "code_idx_map.txt").read_text(encoding="utf-8"))  # its keys are the functions
    for path in sorted(cosqa.glob("*.json")):
        yield from strings(path.name, path.read_bytes())


def strings(name: str, raw: bytes) -> Iterator[str]:
    """The strings of a JSON value or of the cells of a table."""
    body = raw.decode("utf-8", errors="replace")
    if name.endswith((".json", ".jsonl")):
        try:
            values = [json.loads(body)]
        except json.JSONDecodeError:  # one JSON value a line
            values = [json.loads(line) for line in body.splitlines() if line.strip()]
        while values:
            value = values.pop()
            if isinstance(value, str):
                yield value
            elif isinstance(value, list):
                values.extend(value)
            elif isinstance(value, dict):
                values.extend(value.values())
    elif name.endswith(".csv"):
        for row in csv.reader(io.StringIO(body)):
            yield from row
    else:
        for line in body.splitlines():
            yield from line.split("\t")


def rows(shared: Path, unpacked: Path) -> Iterator[Row]:
    """Every row of every source, in a fixed order."""
    train = unpacked / "train"
    yield from read_bitext(train, shared)
    yield from read_words(train)
    yield from read_english(train)
    yield from read_passages(train, shared)
    yield from read_code_and_law(unpacked)


def build(shared: Path, unpacked: Path, out: Path) -> None:
    """Write `distil.jsonl`, `pairs.jsonl` and the counts `data.json` into `out`.

    Args:
        shared: the data folder, with the evaluation sets.
        unpacked: where its packed parts (train, legal, code) were unpacked.
        out: folder of the results; nothing is done when `data.json` is there.
    """
    if (out / "data.json").exists():
        return
    held_out = list(dict.fromkeys(text for raw in evaluation_texts(shared) for text in (raw, *sentences(raw))))
    print(f"evaluation texts and sentences: {len(held_out):,}", flush=True)
    unique = list({(type(row).__name__, *vars(row).values()): row for row in rows(shared, unpacked)}.values())
    print(f"training rows before removal: {len(unique):,}", flush=True)
    sides = [(row.text, row.english) if isinstance(row, Distil) else (row.query, row.passage) for row in unique]
    found = Decontaminator(held_out).overlapping(list(dict.fromkeys(text for both in sides for text in both)))
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    kept: list[Row] = []
    for row, both in zip(unique, sides, strict=True):
        kind = next((found[text] for text in both if text in found), None)
        counts[f"{row.source}/{type(row).__name__.lower()}"][kind or "kept"] += 1
        if kind is None and all(both):
            kept.append(row)
    random.Random(SEED).shuffle(kept)
    out.mkdir(parents=True, exist_ok=True)
    for kind, name in ((Distil, "distil"), (TrainingPair, "pairs")):
        with (out / f"{name}.jsonl").open("w", encoding="utf-8") as file:
            for row in kept:
                if isinstance(row, kind):
                    file.write(json.dumps(vars(row), ensure_ascii=False) + "\n")
    report = {"evaluation_texts": len(held_out), "sources": counts, "licences": LICENCES}
    (out / "data.json").write_text(json.dumps(report, indent=1, ensure_ascii=False), encoding="utf-8")
    print(json.dumps(report, ensure_ascii=False), flush=True)
