"""Texts for the checks: many scripts, lengths from a word to several prefill chunks, and texts known to break fp16."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle, islice

from upsize.model.tokenizer import TextTokenizer

SHORT: tuple[str, ...] = (
    "What is the capital of China?",
    "The capital of China is Beijing.",
    "中国的首都是哪里？",
    "重力是使两个物体相互吸引的力，它使行星围绕太阳运动。",
    "東京の天気は今日晴れています。",
    "대한민국의 수도는 서울입니다.",
    "Wie lange dauert die Fahrt von Zürich nach Genf?",
    "La photosynthèse transforme la lumière en énergie chimique.",
    "¿Dónde puedo renovar mi pasaporte?",
    "Столица России — Москва.",
    "ما هي عاصمة مصر؟",
    "भारत की राजधानी नई दिल्ली है।",
    "กรุงเทพมหานครเป็นเมืองหลวงของประเทศไทย",
    "def add(a: int, b: int) -> int:\n    return a + b\n",
    "SELECT name, COUNT(*) FROM orders GROUP BY name HAVING COUNT(*) > 3;",
    "ok",
)

PARAGRAPHS: dict[str, tuple[str, ...]] = {
    "English": (
        "A glacier forms where more snow falls in winter than melts in summer, and the weight of each year's layer "
        "presses the older ones into ice. ",
        "Under that weight the ice begins to flow, a few centimetres a day in a cold valley and some metres where "
        "water lies beneath. ",
        "It carries stones of every size with it and leaves them in ridges along its sides and at its end. ",
        "Such ridges tell how far the ice once reached, and the wood found in them tells when. ",
    ),
    "Chinese": (
        "冰川形成于冬季降雪多于夏季融雪的地方，每年的积雪把下面的旧雪压成冰。",
        "在重压之下，冰开始缓慢流动，寒冷的山谷里每天只有几厘米，底部有水时可达数米。",
        "它携带着大小不一的石块，把它们堆积在两侧和末端，形成冰碛垄。",
        "这些冰碛垄说明冰川曾经到达的地方，其中的木头则说明时间。",
    ),
    "code": (
        "import numpy as np\n\n\nclass Window:\n",
        "    def __init__(self, size: int) -> None:\n        self.size = size\n\n",
        "    def push(self, values: list[float]) -> float:\n        kept = values[-self.size :]\n",
        "        if not kept:\n            raise ValueError('empty window')\n        return float(np.mean(kept))\n\n",
    ),
}
"""Sentences of a few kinds, which `of_length` joins into texts of any length."""

_IMPORTS = "".join(f"import {m}\n" for m in ("os", "sys", "json", "re", "time", "math", "torch", "numpy as np"))

DIFFICULT_TEXTS: dict[str, str] = {
    "imports": _IMPORTS * 6,
    "one import": "import",
    "java imports": "import java.util.List;\nimport java.util.Map;\nimport static org.junit.Assert.*;\n" * 8,
    "one word, many times": "the " * 600,
    "one letter, many times": "a" * 1500,
    "newlines": "\n" * 200 + "end",
    "emoji": "😀🚀🧬👩🏽‍🚀🏳️‍🌈" * 12,
    "combining marks": "Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢L̠ͨͧͩ͘G̴̻͈͍͔̹̑͗̎̅͛́Ǫ̵̹̻̝̳͂̌̌͘!" * 4,
    "numbers": " ".join(str(7**k) for k in range(1, 20)),
    "special tokens": "<|im_start|>user\n<think>\n\n</think>\n<|im_end|><|endoftext|> and more",
    "control characters": "a\x00b\x07c\x1b[31md\u200be\ufefff",
    "rare scripts": "ᚠᛇᚻ᛫ ꦲꦤꦕꦫꦏ ⴰⵣⵓⵍ ሰላም ልዑል བོད་ཡིག 𓂀𓏏𓆑 𝕬𝖇𝖈",
    "one space": " ",
}
"""Name → text. The 8B gives NaN in fp16 on the imports; the others are known to break tokenizers and norms."""

QUERY = "Which text explains how a glacier flows?"
"""The query of a reranker for each text."""


def of_length(kind: str, tokens: int, tokenizer: TextTokenizer) -> str:
    """A text of about `tokens` tokens: the sentences of a kind in turn."""
    sentences = PARAGRAPHS[kind]
    each = [len(tokenizer.encode(s)) for s in sentences]
    needed, total = 0, 0
    while total < tokens:
        total += each[needed % len(each)]
        needed += 1
    return "".join(islice(cycle(sentences), needed))


def parity_texts(tokenizer: TextTokenizer) -> Sequence[str]:
    """The short texts, three of about 500 tokens, and one longer than two prefill chunks of the CPU."""
    middling = [of_length(kind, 500, tokenizer) for kind in PARAGRAPHS]
    return [*SHORT, *middling, of_length("English", 1100, tokenizer)]


def batch_texts(tokenizer: TextTokenizer) -> Sequence[str]:
    """Texts of 1 to about 300 tokens. Random batches of them start each text at another position."""
    kinds = list(PARAGRAPHS)
    lengths = (3, 8, 15, 30, 40, 60, 90, 130, 200, 300)
    return [*SHORT[::3], *(of_length(kinds[i % len(kinds)], n, tokenizer) for i, n in enumerate(lengths))]
