"""The life of `upsize serve` as a process: start, wrong starts, drain."""

from __future__ import annotations

import json
import logging
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import openai
import pytest

from tests.checkpoints import copy_of
from tests.server.raw import code_of, crowd, request
from upsize.cli import main
from upsize.errors import UpsizeError
from upsize.server import Address
from upsize.server.run import bind, url_of


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "upsize", "serve", *arguments]


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def is_ready(base: str) -> bool:
    try:
        return httpx.get(f"{base}/health").status_code == 200
    except httpx.TransportError:
        return False


@contextmanager
def process(
    log: Path, *arguments: str, files: int | None = None, **environment: str
) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """`upsize serve` on a free port, ready; its output in `log`. It may open so many `files`."""
    port = free_port()
    with log.open("wb") as out:
        started = subprocess.Popen(
            command("--port", str(port), *arguments),
            stdout=out,
            stderr=out,
            env=os.environ | environment,
            preexec_fn=None if files is None else lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (files, files)),
        )
        try:
            base = f"http://127.0.0.1:{port}"
            while not is_ready(base):
                with suppress(subprocess.TimeoutExpired):
                    pytest.fail(f"it ended with {started.wait(0.05)}: {log.read_text()}")
            yield started, base
        finally:
            started.kill()
            started.wait()


def test_sigterm_under_load_answers_what_was_accepted_and_exits_0(embedder_folder: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with process(log, str(embedder_folder)) as (server, base):
        answers: list[int | str] = []
        answered_or_failed = threading.Semaphore(0)

        def client() -> None:
            """Send until told that the service drains; whoever asks once more finds a closed door in the end."""
            with httpx.Client(base_url=base, timeout=60) as c:
                answer: int | str = 200
                while answer == 200:
                    try:
                        answer = c.post("/v1/embeddings", json={"input": ["some words " * 60] * 16}).status_code
                    except httpx.TransportError as error:
                        answer = repr(error)
                    answers.append(answer)
                    answered_or_failed.release()

        threads = [threading.Thread(target=client) for _ in range(8)]
        for thread in threads:
            thread.start()
        for _ in range(8 + len(threads)):
            assert answered_or_failed.acquire(timeout=60)
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0, log.read_text()
        for thread in threads:
            thread.join()
    assert answers.count(200) > 8
    assert answers.count(503) == 8, answers  # each client's last; nothing was cut off
    assert "Draining" in log.read_text()


def test_a_signal_that_is_passed_on_twice_counts_once(embedder_folder: Path, tmp_path: Path) -> None:
    with process(tmp_path / "log", str(embedder_folder)) as (server, _):
        server.send_signal(signal.SIGTERM)
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 0, (tmp_path / "log").read_text()


def test_few_files_idle_connections_and_a_body_that_never_ends(embedder_folder: Path, tmp_path: Path) -> None:
    """With 128 files 300 connections keep nobody out, and a half-sent body does not keep the server from its end."""
    log, indexes = tmp_path / "log", tmp_path / "indexes"
    (indexes / "docs").mkdir(parents=True)
    (indexes / "docs" / "index.json").write_text("{}")
    with (
        process(log, str(embedder_folder), "--indexes", str(indexes), files=128) as (server, base),
        httpx.Client(base_url=base) as client,
        crowd(client, 300),
    ):
        assert httpx.get(f"{base}/health").status_code == 200
        assert httpx.get(f"{base}/v1/indexes/docs/documents/a%0ab").status_code == 500
        with crowd(client, 1, request(body=b'{"input', length=1000)) as (half,):
            assert httpx.post(f"{base}/v1/embeddings", json={"input": "a"}).status_code == 200
            server.send_signal(signal.SIGTERM)
            assert code_of(half) == (503, "unavailable")
            assert server.wait(20) == 0, log.read_text()
    text = log.read_text()
    assert "may open 128 files" in text
    assert "Closed " in text
    assert "ERROR /v1/indexes/docs/documents/a\\nb: " in text, "a path made a line of its own"


@pytest.mark.parametrize(("again", "code"), [(False, 0), (True, 130)])
def test_work_that_takes_longer_than_the_drain_is_left(
    embedder_folder: Path, tmp_path: Path, again: bool, code: int
) -> None:
    """At the limit, or with a second signal at once."""
    log = tmp_path / "log"
    body = json.dumps({"input": ["word " * 100] * 1000}).encode()
    with (
        process(log, f"embed={embedder_folder}", "--drain-seconds", "3600" if again else "0.2") as (server, base),
        httpx.Client(base_url=base) as client,
        crowd(client, 1, request(body=body)) as (waiting,),
    ):
        waiting.setblocking(False)
        while 'upsize_queue_tokens{model="embed"} 0.0' in client.get("/metrics").text:
            with pytest.raises(BlockingIOError):  # it has no reply yet
                waiting.recv(1)
        server.send_signal(signal.SIGTERM)
        while again and server.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                server.wait(0.1)
            server.send_signal(signal.SIGTERM)
        assert server.wait(20) == code, log.read_text()
    assert "1 accepted requests are dropped" in log.read_text()


def test_start_says_what_was_derived(embedder_folder: Path, reranker_folder: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with process(log, f"one={embedder_folder}", f"two={reranker_folder}", "--enable-metrics", "--tp-size", "2") as (
        server,
        base,
    ):
        assert [m["id"] for m in httpx.get(f"{base}/v1/models").json()["data"]] == ["one", "two"]
        maps = Path(f"/proc/{server.pid}/maps")
        assert not maps.exists() or "/uvloop/" in maps.read_text(), "the loop that takes half the time is not used"
    text = log.read_text()
    for words in ("Embedding model loaded successfully: one", "Reranker model loaded successfully: two", "fingerprint"):
        assert words in text
    for words in ("precision", "float32 products", "longest text", "--enable-metrics is not needed", "--tp-size and"):
        assert words in text


def test_the_articles_command_word_for_word(embedder_folder: Path, tmp_path: Path) -> None:
    """A hub id, found in the hub's cache with no network, called by the name that the article's cell uses."""
    snapshot = tmp_path / "hub" / "models--Qwen--Qwen3-Embedding-0.6B" / "snapshots" / "0123abc"
    snapshot.parent.mkdir(parents=True)
    copy_of(embedder_folder, snapshot)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("0123abc")
    words = ["--model-path", "Qwen/Qwen3-Embedding-0.6B", "--host", "0.0.0.0", "--is-embedding"]
    with process(tmp_path / "log", *words, HF_HOME=str(tmp_path), HF_HUB_OFFLINE="1") as (_, base):
        client = openai.Client(base_url=f"{base}/v1", api_key="EMPTY")
        response = client.embeddings.create(model="Qwen3-Embedding-0.6B", input="How are you today")
    assert len(response.data[0].embedding) == 64
    assert "Embedding model loaded successfully" in (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--nonsense"], 2, "No such option: --nonsense"),
        (["--is-embeding"], 2, "--is-embedding"),
        (["--dtype", "int3", "MODEL"], 1, "use auto, float32, bfloat16, float16"),
        (["--device", "tpu", "MODEL"], 1, "use auto, cpu, cuda"),
        (["--quantization", "fp8", "MODEL"], 1, "--dtype int8"),
        (["--tokenizer-path", "elsewhere", "MODEL"], 1, "its own tokenizer"),
        (["--context-length", "99999999", "MODEL"], 1, "this checkpoint supports"),
        (["--served-model-name", "a", "--served-model-name", "b", "MODEL"], 1, "one for each model"),
        (["MODEL", "MODEL"], 1, "Two models are called"),
        (["no/such/folder"], 1, "none of these"),
        (["--log-level", "loud"], 1, "use one of debug"),
        (["--api-key", "", "MODEL"], 1, "would protect nothing"),
        (["--context-length", "0", "MODEL"], 2, "Invalid value for '--context-length'"),
    ],
)
def test_wrong_starts(
    embedder_folder: Path,
    arguments: list[str],
    code: int,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = [str(embedder_folder) if a == "MODEL" else a for a in arguments]
    monkeypatch.setattr(sys, "argv", ["upsize", "serve", "--port", str(free_port()), *given])
    monkeypatch.setattr(logging.root, "handlers", [])  # a service sets up the log of its process
    monkeypatch.setattr(logging.root, "level", logging.root.level)
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr().err
    assert (ended.value.code, words in said) == (code, True), said


@pytest.mark.parametrize(("host", "shown"), [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")])
def test_the_port_taken_is_the_port_said(host: str, shown: str) -> None:
    try:
        listener = bind(Address(host, 0))
    except UpsizeError as error:
        pytest.skip(str(error))
    with listener:
        assert url_of(listener) == f"http://{shown}:{listener.getsockname()[1]}"
        assert listener.getsockname()[1] > 0


def test_a_port_in_use_is_said_before_anything_is_loaded(embedder_folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = subprocess.run(command(str(embedder_folder), "--port", port), capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert f"127.0.0.1:{port} is in use" in done.stderr
    assert "loaded" not in done.stderr


def test_a_broken_checkpoint_ends_the_start(embedder_folder: Path, tmp_path: Path) -> None:
    broken = copy_of(embedder_folder, tmp_path / "broken")
    shutil.copy(broken / "model.safetensors", tmp_path / "whole")
    (broken / "model.safetensors").write_bytes((tmp_path / "whole").read_bytes()[:5000])
    done = subprocess.run(command(str(broken), "--port", str(free_port())), capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "model.safetensors: expected" in done.stderr
    assert "Traceback" not in done.stderr
