"""The texts that the Qwen3 Embedding and Reranker models put around their input (arXiv 2506.05176, model cards)."""

DEFAULT_TASK = "Given a web search query, retrieve relevant passages that answer the query"
SYMMETRIC_TASK = "Retrieve semantically similar text"

RERANK_PREFIX = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
    'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
)
RERANK_SUFFIX = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"


def query_text(query: str, task: str = DEFAULT_TASK) -> str:
    """The query behind its instruction; no space after the colon."""
    return f"Instruct: {task}\nQuery:{query}"


def rerank_body(task: str, query: str, document: str) -> str:
    """What stands between the reranker's fixed prefix and suffix; a document is cut by cutting the end of this text."""
    return f"<Instruct>: {task}\n<Query>: {query}\n<Document>: {document}"


def rerank_text(task: str, query: str, document: str) -> str:
    """The whole input of the reranker for one query and document."""
    return RERANK_PREFIX + rerank_body(task, query, document) + RERANK_SUFFIX
