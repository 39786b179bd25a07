"""Peak memory of a model, measured in a process of its own, beyond what Python and the libraries take."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from multiprocessing.connection import Connection

import numpy as np

from upsize.compute import LoadedModel, load_model
from upsize.errors import UpsizeError
from upsize.selection.matrix.child import peak_gpu_memory, peak_resident_memory


def peak_bytes(model: str, precision: str, lengths: Sequence[int], device: str = "auto") -> int:
    """Load `model` and run one text of each of `lengths` tokens, the longest alone; bytes of resident memory at most,
    less those before it was loaded. On a GPU: of its memory."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_measure, args=(theirs, model, precision, list(lengths), device), daemon=True)
    child.start()
    theirs.close()
    try:
        answer = ours.recv()
    except EOFError:
        child.join()
        raise UpsizeError(
            f"{model}: the process that measured its memory ended with code {child.exitcode}. If the system killed it, "
            "the model does not fit beside what else runs here."
        ) from None
    child.join()
    if isinstance(answer, str):
        raise UpsizeError(f"{model}: its memory could not be measured: {answer}")
    return int(answer)


def _measure(pipe: Connection, model: str, precision: str, lengths: list[int], device: str) -> None:
    """In the child."""
    try:
        pipe.send(_peak(model, precision, lengths, device))
    except Exception as error:  # the parent raises it
        pipe.send(f"{type(error).__name__}: {error}")


def _peak(model: str, precision: str, lengths: list[int], device: str) -> int:
    before = peak_resident_memory()
    loaded = load_model(model, dtype=precision, device=device)
    budget = loaded.plan.budget
    batch = [lengths[0]]
    _run(loaded, batch)
    for length in lengths[1:]:
        if sum(batch) + length > budget:
            break
        batch.append(length)
    _run(loaded, batch)
    return peak_gpu_memory(loaded.plan.device) or max(peak_resident_memory() - before, 0)


def _run(loaded: LoadedModel, lengths: list[int]) -> None:
    end = loaded.checkpoint.tokenizer.end_id
    for _ in loaded.run([np.full(length, end, np.int32) for length in lengths]):
        pass
