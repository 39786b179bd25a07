"""Put the demo family's facts and scores into its pages: each model's README.md, and docs/demo-family.md.

usage: python -m benchmarks.cards           # the tests check that this changes nothing
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS
from upsize.demo import NAMES, folder

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "demo-family.md"
EMBEDDERS = ("demo-xs", "demo-s", "demo-m")
HEAD = "<!-- made by python -m benchmarks.cards; do not edit -->"

Facts = dict[str, Any]


def card(name: str) -> Facts:
    """What a model was made of."""
    facts: Facts = json.loads((folder(name) / "card.json").read_text(encoding="utf-8"))
    return facts


def result(name: str) -> Facts:
    """A committed result."""
    found: Facts = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return found


def figure(score: Facts) -> str:
    """A value with its interval."""
    return f"{score['value']:.3f} ({score['low']:.3f} to {score['high']:.3f})"


def signed(score: Facts) -> str:
    """A difference with its interval."""
    return f"{score['value']:+.3f} ({score['low']:+.3f} to {score['high']:+.3f})"


def readme(name: str) -> str:
    """A model's page."""
    facts = card(name)
    family = result("demo-family" if facts["kind"] == "embedding" else "demo-reranker")
    what = {"embedding": "text embedding model", "reranker": "yes/no reranker"}[facts["kind"]]
    training = facts["training"]
    recipe = ", ".join(f"{key} {value}" for key, value in training["recipe"].items())
    lines = [
        HEAD,
        "",
        f"# {name}",
        "",
        f"A tiny {what} of the Qwen3 architecture, made for demonstrations and tests. Licence: {facts['licence']}.",
        "",
        f"- {facts['parameters']:,} parameters, {facts['weight_bytes'] / 1e6:.2f} MB in {facts['dtype']}: "
        f"{facts['num_hidden_layers']} layers, hidden size {facts['hidden_size']}, "
        f"{facts['num_attention_heads']} heads over {facts['num_key_value_heads']} key/value heads of "
        f"{facts['head_dim']}, vocabulary {facts['vocab_size']:,}.",
        f"- Languages: {', '.join(facts['languages']['main'])}"
        + (f"; a little of {', '.join(facts['languages']['minor'])}." if facts["languages"]["minor"] else "."),
        f"- Starts from: {facts['starts_from']}. {training['steps']:,} steps in {training['hours']:.2f} "
        "hours of a CPU core.",
        *([f"- Teacher: {facts['teacher']}."] if facts["teacher"] else []),
        f"- Recipe: {recipe}.",
        "",
        "## Scores",
        "",
        f"95 % intervals from {family['resamples']:,} bootstrap resamples of queries, pairs or texts; "
        f"{family['date']}. Beside the other sizes and reference lines: docs/demo-family.md of the project.",
        "",
        *scores(name, facts, family),
        "",
        "## Training data",
        "",
        "| source | class | rows | removed: exact, near |",
        "|---|---|---|---|",
    ]
    for row in facts["data"]:
        kept = ", ".join(f"{count:,} {kind}" for kind, count in row["rows"].items())
        removed = f"{row['removed_exact']:,}, {row['removed_near']:,}"
        lines.append(f"| {row['source']} | {row['licence_class']} | {kept} | {removed} |")
    lines += [
        "",
        f"Removed because the text, or a sentence of it, is (nearly) one of {facts['evaluation_texts_checked']:,} "
        f"evaluation texts: {facts['removed_exact']:,} exact and {facts['removed_near_duplicates']:,} near duplicates.",
        "Class P: permissive, CC BY, CC0 or public domain; SA: share-alike.",
        "",
        "## Not good for",
        "",
        *[f"- {use}." for use in facts["not_good_for"]],
    ]
    return "\n".join(lines) + "\n"


def scores(name: str, facts: Facts, family: Facts) -> Iterator[str]:
    """The table of a model's scores."""
    if facts["kind"] == "embedding":
        yield from ("| task | score | n |", "|---|---|---|")
        found = family["models"][name]
        for task, score in {**found["scores"], **found["matryoshka"]}.items():
            kept = f"; keeps {score['kept']:.1%} of the full dimension's" if "kept" in score else ""
            yield f"| {task} | {figure(score)}{kept} | {score['n']:,} |"
    else:
        yield from ("| task | without | reranked | difference | n |", "|---|---|---|---|---|")
        for task, score in family["scores"].items():
            cells = figure(score["without"]), figure(score["with"]), signed(score["difference"])
            yield f"| {task} | {' | '.join(cells)} | {score['with']['n']:,} |"


def page() -> str:
    """The family side by side, what a size more gives, and twenty searches."""
    family, searches = result("demo-family"), result("searches")
    machine = family["machine"]
    return (
        "\n".join(
            (
                HEAD,
                "",
                *_table(family),
                "",
                *_differences(family),
                "",
                *_others(family),
                "",
                *_searches(searches),
                "",
                f"Measured {family['date']} on {machine['cores']} cores of {machine['processor']}, upsize "
                f"{family['versions']['upsize']}, torch {family['versions']['torch']}.",
            )
        )
        + "\n"
    )


def _table(family: Facts) -> Iterator[str]:
    sizes = ", ".join(f"`{name}` {card(name)['parameters'] / 1e6:.1f} M" for name in (*EMBEDDERS, "demo-rerank"))
    yield "# The demo family"
    yield ""
    yield f"Four tiny models that this project trained and ships: {sizes} parameters. Test splits, with 95 % intervals."
    yield ""
    yield "| task | " + " | ".join(EMBEDDERS) + " | reference lines |"
    yield "|---|---|---|---|---|"
    for task in family["models"][EMBEDDERS[0]]["scores"]:
        ours = " | ".join(figure(family["models"][name]["scores"][task]) for name in EMBEDDERS)
        lines = family["references"].get(task, {})
        yield f"| {task} | {ours} | " + "; ".join(f"{name} {line['value']:.3f}" for name, line in lines.items()) + " |"


def _differences(family: Facts) -> Iterator[str]:
    pairs = list(next(iter(family["differences"].values())))
    yield "## What a larger size gives"
    yield ""
    yield "Paired differences over the same units; **bold** where the interval is clear of zero."
    yield ""
    yield "| task | " + " | ".join(pairs) + " |"
    yield "|---|" + "---|" * len(pairs)
    for task, found in family["differences"].items():
        cells = [f"**{signed(d)}**" if d["low"] > 0 or d["high"] < 0 else signed(d) for d in found.values()]
        yield f"| {task} | " + " | ".join(cells) + " |"
    steps = ("demo-s − demo-xs", "demo-m − demo-s")
    rising = [t for t, found in family["differences"].items() if all(found[step]["low"] > 0 for step in steps)]
    flat = [t for t, found in family["differences"].items() if found[steps[1]]["low"] <= 0]
    yield ""
    yield f"Both steps pay on {len(rising)} of {len(family['differences'])} rows: {', '.join(rising)}."
    yield f"The step from `demo-s` to `demo-m` does not show on {len(flat)}: {', '.join(flat) or 'none'}."


def _others(family: Facts) -> Iterator[str]:
    yield "## Fewer dimensions, and the reranker"
    yield ""
    yield "| | score |"
    yield "|---|---|"
    for name in EMBEDDERS:
        for task, score in family["models"][name]["matryoshka"].items():
            yield f"| `{name}`, {task} | {figure(score)}, {score['kept']:.1%} of the full dimension's |"
    for task, score in result("demo-reranker")["scores"].items():
        change = signed(score["difference"])
        yield f"| `demo-rerank`, {task} | {figure(score['with'])} against {figure(score['without'])}: {change} |"


def _searches(found: Facts) -> Iterator[str]:
    first, three = found["searches_answered_first"], found["searches_answered_among_the_first_3"]
    yield "## Twenty searches"
    yield ""
    yield f"Short searches over the package's hundred texts with `{found['embedder']}`. {first} of {found['n']} have an"
    yield f"answer in the first place, and {three} among the first three. With `{found['reranker']}` over the first"
    yield f"ten hits, {found['searches_answered_first_when_reranked']} have an answer in the first place. The answers"
    yield "were fixed before any model ran; one mistake in them was corrected afterwards. ✓ marks an answer."
    yield ""
    yield "| search | first | second | third | first when reranked |"
    yield "|---|---|---|---|---|"
    for search in found["searches"]:
        right = search["answers"]
        cells = [
            f"{'✓ ' if hit['id'] in right else ''}{hit['text'][:60]}… {hit['score']:.2f}" for hit in search["found"]
        ]
        again = search["found_reranked"][0]
        yield f"| {search['search']} | " + " | ".join(cells) + f" | {'✓ ' if again in right else ''}{again} |"


def pages() -> dict[Path, str]:
    """Every page that is made here, and what belongs in it."""
    return {folder(name) / "README.md": readme(name) for name in NAMES} | {PAGE: page()}


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
        print(f"{path.relative_to(ROOT)}: written")
