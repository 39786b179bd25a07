"""Constant traffic on an index over HTTP: searches, adds, updates and deletes at their own rates, open loop.

Arrivals come when they come, whether or not those before were answered; a latency counts from the scheduled instant.
"""

from __future__ import annotations

import queue
import random
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np

CLIENTS = 24


@dataclass(frozen=True)
class Arrival:
    """One request that was answered, or was not."""

    kind: str
    phase: str
    seconds: float
    """From when it was due."""
    late: float
    """Seconds from when it was due until a client was free to send it."""
    error: str | None


class Traffic:
    """Runs until `stop`; every arrival is noted under the phase that was set when it was due."""

    def __init__(
        self,
        base: str,
        index: str,
        rates: Mapping[str, float],
        queries: Sequence[str],
        texts: Sequence[str],
        seed: int = 0,
    ) -> None:
        self._base, self._path, self._rates = base, f"/v1/indexes/{index}", rates
        self._queries, self._texts = queries, texts
        self._random = random.Random(seed)
        self.phase = "begin"
        self.arrivals: list[Arrival] = []
        self.written: dict[str, str] = {}
        """Id → text of what the traffic has added and not deleted, as it was acknowledged."""
        self.deleted: set[str] = set()
        self._due: queue.Queue[tuple[float, str, str, Any] | None] = queue.Queue()
        self._stopped = threading.Event()
        self._number = 0
        self._threads = [threading.Thread(target=self._schedule, daemon=True)]
        self._threads += [threading.Thread(target=self._serve, daemon=True) for _ in range(CLIENTS)]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End, once all that was due is answered."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def latencies(self, kind: str, phase: str) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Seconds of those that were answered."""
        return np.array([a.seconds for a in self.arrivals if (a.kind, a.phase) == (kind, phase) and a.error is None])

    def summary(self) -> dict[str, Any]:
        """Phase → kind → how many, how many failed, and quantiles in milliseconds."""
        result: dict[str, Any] = {}
        for phase in dict.fromkeys(a.phase for a in self.arrivals):
            for kind in self._rates:
                found = [a for a in self.arrivals if (a.kind, a.phase) == (kind, phase)]
                if not found:
                    continue
                p50, p95, p99 = np.quantile(self.latencies(kind, phase), [0.5, 0.95, 0.99]) * 1e3
                result.setdefault(phase, {})[kind] = {
                    "n": len(found),
                    "failed": sum(a.error is not None for a in found),
                    "p50_ms": round(float(p50), 1),
                    "p95_ms": round(float(p95), 1),
                    "p99_ms": round(float(p99), 1),
                    "sent_late_p95_ms": round(float(np.quantile([a.late for a in found], 0.95)) * 1e3, 1),
                }
        return result

    def errors(self) -> list[str]:
        """What went wrong, each once."""
        return sorted({f"{a.phase}, {a.kind}: {a.error}" for a in self.arrivals if a.error})

    def _schedule(self) -> None:
        kinds = list(self._rates)
        total = sum(self._rates.values())
        due = time.monotonic()
        while not self._stopped.is_set():
            due += self._random.expovariate(total)
            time.sleep(max(due - time.monotonic(), 0))
            kind = self._random.choices(kinds, [self._rates[k] for k in kinds])[0]
            self._due.put((due, self.phase, kind, self._body(kind)))
        for _ in range(CLIENTS):
            self._due.put(None)

    def _body(self, kind: str) -> Any:
        if kind == "search":
            return {"query": self._random.choice(self._queries), "k": 10}
        if kind == "add":
            self._number += 1
            return f"traffic-{self._number}"
        return None

    def _serve(self) -> None:
        with httpx.Client(base_url=self._base, timeout=120) as client:
            while (work := self._due.get()) is not None:
                due, phase, kind, body = work
                error: str | None = None
                late = time.monotonic() - due
                try:
                    self._send(client, kind, body)
                except Exception as failure:
                    error = f"{type(failure).__name__}: {failure}"[:300]
                self.arrivals.append(Arrival(kind, phase, time.monotonic() - due, late, error))

    def _send(self, client: httpx.Client, kind: str, body: Any) -> None:
        if kind == "search":
            reply = self._post(client, "search", body)
            if not reply["results"]:
                raise ValueError("nothing found")
            return
        if kind == "delete":
            # One that nobody else changes at the same time: taken out of the written first.
            try:
                id, _ = self.written.popitem()
            except KeyError:
                return
            if self._post(client, "delete", {"ids": [id]})["deleted"] != [id]:
                raise ValueError(f"{id} was not there to delete")
            self.deleted.add(id)
            return
        text = random.choice(self._texts) + f" ({time.monotonic()})"
        if kind == "update":
            try:
                body, _ = self.written.popitem()
            except KeyError:
                return
        self._post(client, "documents", {"documents": [{"id": body, "text": text, "metadata": {"traffic": True}}]})
        self.written[body] = text

    def _post(self, client: httpx.Client, what: str, body: Any) -> Any:
        reply = client.post(f"{self._path}/{what}", json=body)
        if reply.status_code != 200:
            raise ValueError(f"{reply.status_code} {reply.text}")
        return reply.json()
