"""Run by a peer's own Python: its script's embedder on one long text, once. Prints a JSON line.

    PEER/bin/python peer_long.py SCRIPT MODEL IDS.json

The scripts hand their loader to `common.main`, which times whole workloads several times; `once` stands in its place,
for a text that takes minutes. What the machine's memory does not hold is refused to the process: it fails alone.
"""

import importlib
import json
import os
import resource
import runpy
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

script, model, file = sys.argv[1:4]
ids = json.loads(Path(file).read_text())


def once(peer: str, precision: str, load: Callable[[str], Callable[[list[Any]], Any]], **_: Any) -> None:
    """In place of `common.main`."""
    embed = load(model)
    embed([ids[-16:]])
    started = time.perf_counter()
    embed([ids])
    seconds = round(time.perf_counter() - started, 1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"peer": peer, "precision": precision, "seconds": seconds, "peak_gb": round(peak / 1e9, 2)}))


def allow_long_texts() -> None:
    """Of vLLM, whose script allows 16,384 tokens; and no process of its own, whose memory would not be seen."""
    os.environ |= {"VLLM_CPU_KVCACHE_SPACE": "5", "VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
    vllm: Any = importlib.import_module("vllm")
    plain = vllm.LLM
    longer = {"max_model_len": len(ids), "max_num_batched_tokens": len(ids)}
    vllm.LLM = lambda *args, **given: plain(*args, **given | longer)


memory = int(0.9 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
sys.path.insert(0, str(Path(script).parent))
if "vllm" in script:
    allow_long_texts()
common: Any = importlib.import_module("common")
common.main = once
runpy.run_path(script, run_name="__main__")
