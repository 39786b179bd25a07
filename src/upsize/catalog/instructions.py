"""The texts of the family's recipes: default instructions and the reranker's template (docs/sources.md §3, §4).

Every byte here is part of a vector space. Change one and vectors stop matching those of other servers.
"""

WEB_SEARCH = "Given a web search query, retrieve relevant passages that answer the query"
"""Default task of queries and of reranking, as published with both model series."""

SIMILAR_TEXT = "Retrieve semantically similar text"
"""The published task for matching texts of one kind (query to query, sentence to sentence)."""

QUERY_FORM = "Instruct: {instruction}\nQuery:"
"""What stands before a query. No space after `Query:`: a space changes a token, hence the vector."""

RERANK_PREFIX = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
    'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
)
RERANK_BODY = "<Instruct>: {instruction}\n<Query>: {query}\n<Document>: "
RERANK_SUFFIX = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
