"""A real server on a real port, in a thread of the test process."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import uvicorn

from upsize.engine import Limits
from upsize.server import (
    Address,
    Allowed,
    ConnectionLimits,
    LoadOptions,
    Service,
    create_app,
    load_models,
    parse_models,
)
from upsize.server.http.body import Bodies
from upsize.server.http.pool import Pool
from upsize.server.run import bind, config_of


@contextmanager
def live(
    models: dict[str, Path | str],
    *,
    keys: Sequence[str] = (),
    protect_metrics: bool = False,
    limits: Limits = Limits(),
    origins: Sequence[str] = (),
    allow_truncation: bool = False,
    allowed: Allowed | None = None,
    connections: ConnectionLimits | None = None,
    bodies: Bodies | None = None,
    hosts: Sequence[str] = (),
    loopback: bool = True,
    started: bool = True,
) -> Iterator[httpx.Client]:
    """Serve `models` (name → folder); gives a client whose base URL is the server's."""
    service = Service(limits=limits, allow_truncation=allow_truncation, allowed=allowed or Allowed())
    app = create_app(service, keys, protect_metrics, origins, hosts=hosts, loopback=loopback, bodies=bodies)
    server = uvicorn.Server(config_of(app, Pool(connections)))
    listener = bind(Address(port=0))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        if started:
            chosen = parse_models([f"{name}={folder}" for name, folder in models.items()])
            service.start(load_models(chosen, LoadOptions(dtype="float32"), lambda _: None))
        base = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with httpx.Client(base_url=base, timeout=60) as client:
            while not server.started:
                time.sleep(0.01)
            yield client
    finally:
        server.should_exit = True
        thread.join()
        service.finish()
        listener.close()
