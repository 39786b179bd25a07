"""An index is killed at random moments, again and again, and each time held against what it had acknowledged.

A process writes, deletes, compacts, moves the index to another model, switches, rolls back, finishes; it says what it
begins and what was acknowledged. At a random moment of a random kind of work it gets SIGKILL. Another process opens the
index and checks:

- every acknowledged write is there, once, and every acknowledged delete is absent in every generation; the call under
  way is there as a whole or not at all;
- the pointer names a generation that is there;
- once the work goes on and ends, each generation's vectors are those of an undisturbed run: of the model, of the text.

usage: python -m benchmarks.crashes [--kills 100] [--store lancedb] [--seed 0]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks.common import RESULTS, write
from benchmarks.texts import prose
from upsize.engine import Engine, Priority
from upsize.errors import Refused, UpsizeError
from upsize.index import DocumentWrite, Index, ModelPool, SearchRequest, Setup, VectorSpec
from upsize.index.creation import create_index
from upsize.migration import move, plan_move

DOCUMENTS = 150
"""Ids that are written and deleted in turn."""
SIZES = ("demo-xs", "demo-s")
"""The index moves from one to the other and back."""
WORKS = ("open", "add", "delete", "tend", "start", "backfill", "switch", "rollback", "finish", "search")
"""Kinds of work that a kill may be meant for."""
LATEST = 0.03
"""Seconds after the beginning of that work at which the kill comes at the latest; of opening, ten times as long."""
PATIENCE = 30.0
"""Seconds in which the work that is waited for has to come, or the kill comes at any other."""
COSINE = 0.9999


def text_of(id: str, revision: int) -> str:
    """What is written under an id the n-th time."""
    own = zlib.crc32(f"{id} {revision}".encode())
    return f"Revision {revision} of {id}. {prose(own, 12)}"


class Worker:
    """The process that is killed. Lines on `out`: `begin WORK JSON`, `ack JSON`."""

    def __init__(self, folder: Path, seed: int, out: int) -> None:
        self._folder, self._random, self._out = folder, random.Random(seed), out

    def say(self, what: str, value: object = None) -> None:
        """One line, at once."""
        os.write(self._out, f"{what} {json.dumps(value)}\n".encode())

    def run(self) -> None:
        """Work until killed."""
        engine = Engine({})
        models = ModelPool(engine)
        for size in SIZES:
            models.embedder(size, "worker")
        self.say("begin open")
        index = Index(self._folder, models)
        self.say("ack")
        while True:
            work, argument, act = self._next(index)
            self.say(f"begin {work}", argument)
            try:
                act()
            except Refused:
                self.say("refused")
            else:
                self.say("ack")

    def _next(self, index: Index) -> tuple[str, Any, Callable[[], object]]:
        draw = self._random.random()
        under_way = index.state.move
        if draw < 0.35:
            ids = self._random.sample(range(DOCUMENTS), self._random.randint(1, 12))
            texts = {f"d{i}": text_of(f"d{i}", self._random.randrange(10**6)) for i in ids}
            return "add", texts, lambda: index.add([DocumentWrite(id, text) for id, text in texts.items()])
        if draw < 0.5:
            gone = [f"d{i}" for i in self._random.sample(range(DOCUMENTS), self._random.randint(1, 8))]
            return "delete", gone, lambda: index.delete(gone)
        if draw < 0.6:
            return "search", None, lambda: index.search(SearchRequest("the history of trade", k=5))
        if draw < 0.7:
            return "tend", None, lambda: index.generations.compact(index.state.serving)
        if draw < 0.8 and under_way:
            target = index.state.generation(under_way.target)
            index.documents.requeue_all(target.id)  # so that there is something to fill
            return "backfill", None, lambda: index.generations.embed_backlog(target, Priority.BULK)
        if under_way is None:
            to = next(s for s in SIZES if s != index.state.serving.model)
            return "start", to, lambda: move.start(index, plan_move(index, VectorSpec(to), seconds=0.01), shadow=0.5)
        if under_way.phase != "switched":
            return "switch", None, lambda: move.switch(index)
        if draw < 0.9:
            return "rollback", None, lambda: move.rollback(index)
        return "finish", None, lambda: move.finish(index)


class Expected:
    """What was acknowledged, and what was under way."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        self._begun: tuple[str, Any] | None = None

    def hear(self, line: str) -> str | None:
        """A line of the worker; the work that it begins."""
        word, _, rest = line.partition(" ")
        if word == "begin":
            work, _, value = rest.partition(" ")
            self._begun = work, json.loads(value)
            return work
        if word == "ack" and self._begun:
            self.texts = _after(self.texts, self._begun)
        self._begun = None
        return None

    def accept(self, found: dict[str, str]) -> str | None:
        """What is wrong with what was found; from here on that is what is expected."""
        possible = [self.texts] + ([_after(self.texts, self._begun)] if self._begun else [])
        self._begun = None
        expected, self.texts = self.texts, found
        if found in possible:
            return None
        lost = {id for id, text in expected.items() if found.get(id) != text}
        back = set(found) - set(expected)
        return f"lost or changed: {sorted(lost)[:5]}; there although deleted: {sorted(back)[:5]}"


def _after(texts: dict[str, str], begun: tuple[str, Any]) -> dict[str, str]:
    work, value = begun
    if work == "add":
        return {**texts, **value}
    if work == "delete":
        return {id: text for id, text in texts.items() if id not in value}
    return texts


def verify(folder: Path) -> dict[str, Any]:
    """Open the index, let it do what is left, and look at everything."""
    engine = Engine({})
    models = ModelPool(engine)
    faults: list[str] = []
    with Index(folder, models, background=False) as index:
        active = index.state.active
        if active not in {g.id for g in index.state.generations}:
            faults.append(f"the pointer names {active}, which is not there")
        began = time.perf_counter()
        while index.reconciler.step():
            pass
        seconds = time.perf_counter() - began
        documents = index.documents.get([id for id, _ in index.documents.all_numbers()])
        numbers = dict(index.documents.all_numbers())
        for generation in index.state.generations:
            table = index.state.table(generation)
            rows = list(index.store.committed_ids(table))
            if len(rows) != len({id for id, _ in rows}) or len(rows) != index.store.count(table):
                faults.append(f"{generation.id} holds a document twice")
            if stale := {id for id, _ in rows} - set(numbers):
                faults.append(f"{generation.id} holds {sorted(stale)[:5]}, which were deleted")
            if generation not in index.state.kept_current:
                continue
            if dict(rows) != numbers:
                faults.append(f"{generation.id} is not in step with the documents")
            ids = list(documents)
            kept = index.store.vectors(table, ids)
            made = models.start(
                models.of(generation, index.name), [documents[i].text for i in ids], generation.dimension
            ).result()
            worst = min(
                (float(kept[id][1] @ v) for id, v in zip(ids, made.values, strict=True) if id in kept), default=1
            )
            if worst < COSINE:
                faults.append(f"{generation.id}: a vector is not that of its text (cosine {worst:.6f})")
        if documents:
            found = index.search(SearchRequest("the history of trade", k=5))
            if not set(found.ids) <= set(documents) or len(found.ids) != min(5, len(documents)):
                faults.append("a search does not find what is there")
        state = {"active": active, "phase": index.state.move.phase if index.state.move else "none"}
        texts = {id: document.text for id, document in documents.items()}
    engine.close()
    return {"texts": texts, "faults": faults, "seconds": seconds, **state}


def _forked(work: Callable[[int], None]) -> tuple[int, int]:
    """Run `work` in a child, which is given a pipe to write to; (its id, the pipe's other end)."""
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        return child, reading
    os.close(reading)
    try:
        work(writing)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _verified(folder: Path) -> dict[str, Any]:
    child, pipe = _forked(lambda out: _dump(out, verify(folder)))
    with os.fdopen(pipe, "rb") as file:
        text = file.read()
    _, status = os.waitpid(child, 0)
    if status or not text:
        return {"texts": {}, "faults": [f"the index does not open (status {status})"], "phase": "?", "seconds": 0.0}
    value: dict[str, Any] = json.loads(text)
    return value


def _dump(out: int, value: object) -> None:
    with os.fdopen(out, "wb") as file:
        file.write(json.dumps(value).encode())


def kill_once(folder: Path, expected: Expected, seed: int) -> tuple[str, float]:
    """One life of the worker; the work that it was killed in, and the seconds into it."""
    rng = random.Random(seed)
    wanted = rng.choice(WORKS)
    delay = rng.random() * LATEST * (10 if wanted == "open" else 1)
    child, pipe = _forked(lambda out: Worker(folder, seed, out).run())
    until, buffer, current, killed = time.monotonic() + PATIENCE, b"", "", False
    kill_at = until
    while True:
        timeout = max(kill_at - time.monotonic(), 0)
        ready, _, _ = select.select([pipe], [], [], timeout)
        if not ready and not killed:
            os.kill(child, signal.SIGKILL)
            killed = True
            continue
        read = os.read(pipe, 1 << 16)
        if not read:
            break
        buffer += read
        *lines, buffer = buffer.split(b"\n")
        for line in lines:
            if (work := expected.hear(line.decode())) is not None:
                current = work
                if work == wanted and kill_at == until:
                    kill_at = time.monotonic() + delay
        if killed:
            kill_at = time.monotonic() + 5
    os.close(pipe)
    _, status = os.waitpid(child, 0)
    if status != signal.SIGKILL:
        raise UpsizeError(f"the worker of seed {seed} ended by itself, status {status}")
    return current, delay


def run(kills: int, store: str = "lancedb", seed: int = 0, *, progress: bool = False) -> dict[str, Any]:
    """Kill so many times. `faults` is empty if all is well."""
    folder = Path(tempfile.mkdtemp(prefix="upsize-crashes-")) / "index"
    name = f"crashes{os.getpid()}"

    def create(_: int) -> None:
        engine = Engine({})
        create_index(folder, ModelPool(engine), Setup(name, VectorSpec(SIZES[0]), store=store))
        engine.close()

    child, pipe = _forked(create)
    os.waitpid(child, 0)
    os.close(pipe)
    expected, killed_in, phases = Expected(), Counter[str](), Counter[str]()
    faults: list[dict[str, Any]] = []
    seconds: list[float] = []
    for number in tqdm(range(kills), unit="kill", disable=not progress):
        moment = seed * 1_000_003 + number
        work, delay = kill_once(folder, expected, moment)
        killed_in[work] += 1
        found = _verified(folder)
        phases[found["phase"]] += 1
        seconds.append(found["seconds"])
        wrong = found["faults"] + [f for f in [expected.accept(found["texts"])] if f]
        if wrong:
            faults.append({"seed": moment, "killed_in": work, "after_s": round(delay, 4), "faults": wrong})
            print(faults[-1], file=sys.stderr)
    shutil.rmtree(folder.parent)
    return {
        "store": store if "://" not in store else store.split(":")[0],
        "kills": kills,
        "seed": seed,
        "killed_in": dict(killed_in.most_common()),
        "phases_found": dict(phases.most_common()),
        "documents": DOCUMENTS,
        "seconds_until_in_step": {"median": float(np.median(seconds)), "most": float(np.max(seconds))},
        "faults": faults,
    }


def main() -> None:
    """From the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--store", default="lancedb", help="lancedb, or postgresql (one is started)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.store == "postgresql":
        from tests.postgres import database

        with tempfile.TemporaryDirectory() as folder, database(Path(folder)) as server:
            result = run(arguments.kills, server.get_uri(), arguments.seed, progress=True)
    else:
        result = run(arguments.kills, arguments.store, arguments.seed, progress=True)
    write(f"crashes-{arguments.store}", result, RESULTS)
    if result["faults"]:
        sys.exit(1)


if __name__ == "__main__":
    main()
