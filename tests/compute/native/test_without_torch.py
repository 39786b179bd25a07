"""An installation without torch runs int8 and bfloat16 on the compiled kernels, and says what it cannot do."""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys

import pytest

from upsize import Embedder

HIDDEN = "import sys; sys.modules['torch'] = sys.modules['transformers'] = None\n"
"""To Python a module that is None is one that is not installed."""
VECTORS = """
import json
from upsize import Embedder, Reranker
texts = ["The capital of China is Beijing.", "Gravity pulls bodies together."]
found = {d: Embedder("demo-xs", dtype=d).encode_document(texts).tolist() for d in ("bfloat16", "int8")}
best = Reranker("demo-rerank").rank("What is the capital of China?", texts)
print(json.dumps(found | {"first": best[0].index}))
"""


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", HIDDEN + code], capture_output=True, text=True, timeout=100)


def test_vectors_and_scores_are_the_same_without_it(built: ctypes.CDLL) -> None:
    if built.upsize_best_level() == 0:
        pytest.skip("int8 needs a processor with AVX2: run it on one")
    done = python(VECTORS)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["first"] == 0
    texts = ["The capital of China is Beijing.", "Gravity pulls bodies together."]
    for dtype in ("bfloat16", "int8"):
        expected = Embedder("demo-xs", dtype=dtype).encode_document(texts)
        assert ((expected * found[dtype]).sum(1) > 0.9999).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("dtype='float32'", "float32 on a CPU (bfloat16 and int8 do without) needs the package 'torch': pip install"),
        ("device='cuda'", "--device cuda needs the package 'torch': pip install 'upsize[torch]'."),
    ],
)
def test_what_needs_it_is_refused_with_what_to_install(built: ctypes.CDLL, arguments: str, message: str) -> None:
    done = python(f"from upsize import Embedder; Embedder('demo-xs', {arguments})")
    assert done.returncode == 1
    assert message in done.stderr.splitlines()[-1]
