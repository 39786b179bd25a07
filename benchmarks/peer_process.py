"""Run by a peer's own Python: its script's embedder, asked over standard input for as long as that is open.

    PEER/bin/python peer_process.py SCRIPT MODEL LONGEST

A script hands its loader to `common.main`, which would time whole workloads by itself; `answer` stands in its place, so
that all who are compared can be asked in turn. What the machine's memory does not hold is refused to the process: it
fails alone. LONGEST: tokens of the longest text.
"""

import importlib
import json
import os
import resource
import runpy
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

script, model, longest = sys.argv[1], sys.argv[2], int(sys.argv[3])
replies = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # what libraries print is no reply


def answer(
    peer: str,
    precision: str,
    load: Callable[[str], Callable[[list[Any]], Any]],
    batch_sizes: Sequence[int] = (1, 8, 32),
    **_: Any,
) -> None:
    """In place of `common.main`: a line who it is, then a line of seconds for every line of batches of token ids."""
    embed = load(model)
    embed([[*range(16)]])
    told = {"peer": peer, "precision": precision, "batch_sizes": batch_sizes}
    print(json.dumps(told | corrected), file=replies, flush=True)
    for line in sys.stdin:
        batches = json.loads(line)
        for each in forget:
            each()
        started = time.perf_counter()
        for batch in batches:
            embed(batch)
        seconds = time.perf_counter() - started
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps({"seconds": seconds, "peak_gb": round(peak / 1e9, 2)}), file=replies, flush=True)


forget: list[Callable[[], object]] = []
"""What a peer must do before each line, so that it has seen none of its texts."""


corrected: dict[str, str] = {}
"""Of what a script says of itself."""


def adapt_vllm() -> None:
    """Its script allows 16,384 tokens, is in bfloat16 and keeps no prefixes. No process of its own: its memory would
    not be seen."""
    corrected["precision"] = os.environ["PRECISION"]
    long, keep = longest > 16384, bool(os.environ.get("KEEP_PREFIXES"))
    os.environ |= {"VLLM_CPU_KVCACHE_SPACE": "8" if long else "4", "VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
    vllm: Any = importlib.import_module("vllm")
    plain = vllm.LLM
    ours: dict[str, Any] = {"dtype": os.environ["PRECISION"]}
    if long:
        ours |= {"max_model_len": longest, "max_num_batched_tokens": longest}
    if keep:
        ours |= {"enable_prefix_caching": True, "block_size": 32}

    def make(*args: Any, **given: Any) -> Any:
        made = plain(*args, **given | ours)
        forget.append(made.reset_prefix_cache)
        return made

    vllm.LLM = make


memory = int(0.9 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
sys.path.insert(0, str(Path(script).parent))
if "vllm" in script:
    adapt_vllm()
common: Any = importlib.import_module("common")
common.main = answer
runpy.run_path(script, run_name="__main__")
