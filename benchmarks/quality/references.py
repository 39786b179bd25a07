"""What a small model has to be compared with: word matching, and the real small model that taught the family."""

from __future__ import annotations

from collections.abc import Sequence

import bm25s
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import normalize


def tf_idf(*sides: Sequence[str]) -> list[csr_matrix]:
    """Unit TF-IDF vectors of character 2- to 4-grams within words, fitted on all sides together."""
    vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True, dtype=np.float32)
    vectorizer.fit([text for side in sides for text in side])
    return [vectorizer.transform(side) for side in sides]


def tf_idf_svd(texts: Sequence[str], dimensions: int = 128) -> NDArray[np.floating]:
    """Unit vectors (texts, dimensions): the leading singular directions of TF-IDF."""
    reduced = TruncatedSVD(dimensions, random_state=0).fit_transform(tf_idf(texts)[0])
    return np.asarray(normalize(reduced))


def bm25(queries: Sequence[str], documents: Sequence[str], lang: str) -> NDArray[np.float32]:
    """BM25 scores (queries, documents) by bm25s, Lucene's variant: words, in Chinese characters and pairs of them."""
    index = bm25s.BM25(method="lucene")
    index.index([_tokens(text, lang) for text in documents], show_progress=False)
    return np.stack([index.get_scores(_tokens(query, lang)) for query in queries]).astype(np.float32)


def _tokens(text: str, lang: str) -> list[str]:
    if lang == "zh":
        return [*text, *(text[i : i + 2] for i in range(len(text) - 1))]
    (words,) = bm25s.tokenize([text], stopwords="en", return_ids=False, show_progress=False)
    return list(words) or [""]
