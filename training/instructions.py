"""Instructions as people word them, for training on more than the few that the data's sources need.

A small model that saw one instruction takes any other for part of the query: with the default one it found SciFact's
abstracts at nDCG@10 .40, behind the task's usual wording at .31. What it should learn is to read past the instruction.
"""

import numpy as np

KINDS = (
    "web search query",
    "question",
    "query",
    "claim",
    "title",
    "headline",
    "keyword",
    "term",
    "sentence",
    "statement",
    "short description",
    "text",
    "topic",
    "problem",
    "message from a customer",
    "medical question",
    "financial question",
    "legal question",
    "programming question",
    "news headline",
)
WANTED = (
    "passages",
    "documents",
    "articles",
    "paragraphs",
    "answers",
    "texts",
    "pages",
    "sections",
    "posts",
    "definitions",
    "summaries",
    "code snippets",
    "functions",
    "sentences",
    "entries of the manual",
    "scientific papers",
)
RELATIONS = (
    "that answer it",
    "that are relevant",
    "that explain it",
    "that best match it",
    "that solve it",
    "about the same subject",
    "with the same meaning",
    "that confirm or contradict it",
    "it refers to",
    "that a reader would want",
)
VERBS = ("retrieve", "find", "search for", "return", "look up", "rank")
FORMS = (
    "Given a {kind}, {verb} {wanted} {relation}",
    "Given a {kind}, {verb} {wanted} {relation}.",
    "Given the {kind}, {verb} the {wanted} {relation}",
    "{Verb} {wanted} {relation}",
    "{Verb} {wanted} for the given {kind}",
    "Represent the {kind} to {verb} {wanted} {relation}",
    "Identify the topic of the given {kind}",
    "Classify the given {kind}",
)
CHINESE_FORMS = (
    "给定一个{kind}，{verb}{relation}{wanted}",
    "{verb}与{kind}{near}的{wanted}",
    "为这个{kind}{verb}{wanted}",
)
CHINESE = {
    "kind": ("网络搜索查询", "问题", "标题", "关键词", "句子", "描述", "新闻标题", "主题"),
    "verb": ("检索", "查找", "搜索", "返回"),
    "relation": ("能够回答它的", "相关的", "意思相同的", "解释它的", ""),
    "wanted": ("段落", "文档", "文章", "答案", "文本", "条文", "代码"),
    "near": ("相关", "意思相近", "最匹配"),
}


def wordings(count: int, seed: int) -> list[str]:
    """Drawn instructions, a sixth of them Chinese; some may be equal."""
    rng = np.random.default_rng(seed)

    def pick(options: tuple[str, ...]) -> str:
        return options[int(rng.integers(len(options)))]

    drawn = []
    for _ in range(count):
        if rng.random() < 1 / 6:
            drawn.append(pick(CHINESE_FORMS).format(**{slot: pick(options) for slot, options in CHINESE.items()}))
            continue
        verb = pick(VERBS)
        slots = {"kind": pick(KINDS), "wanted": pick(WANTED), "relation": pick(RELATIONS)}
        drawn.append(pick(FORMS).format(verb=verb, Verb=verb.capitalize(), **slots))
    return drawn
