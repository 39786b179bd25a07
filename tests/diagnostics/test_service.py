"""Every way in which a service goes wrong, against a real one that does."""

from __future__ import annotations

import socket
import time
from typing import Any

import pytest

from tests.diagnostics.misbehaving import NAMES, Service, message, of, wrongs
from tests.little_server import Answer, Call, serving
from upsize.diagnostics import diagnose

pytestmark = pytest.mark.usefixtures("no_proxies")


class Refusing(Service):
    """Refuses every embedding."""

    status, said = 500, "boom"

    def embed(self, body: dict[str, Any]) -> Answer:
        return self.error(self.status, self.said)


def refusing(status: int, said: str) -> Service:
    service = Refusing()
    service.status, service.said = status, said  # type: ignore[misc]
    return service


def test_a_good_service_is_healthy_and_its_embedder_is_found() -> None:
    found = of(Service(fingerprints=("abc",)))
    assert found.ok, found.findings
    assert (found.model, found.dimension, found.fingerprint) == (NAMES[0], 16, "abc")
    assert found.latency_ms is not None
    assert 0 < found.latency_ms < 5000
    assert found.to_json()["ok"] is True


def test_a_good_service_without_lists_keys_or_health_is_healthy_too() -> None:
    assert of(Service(lists=False, health=404)).ok
    assert of(Service(key="k"), api_key="k", model=NAMES[0], dimensions=8).dimension == 8


def test_only_what_every_such_server_documents_is_asked() -> None:
    service = Service()
    of(service)
    embeddings = [c.body for c in service.calls if c.path == "/v1/embeddings"]
    assert {c.path for c in service.calls} == {"/health", "/v1/models", "/v1/embeddings"}
    assert all(set(body) <= {"input", "model", "encoding_format", "dimensions"} for body in embeddings)


def test_nothing_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    found = diagnose(f"http://127.0.0.1:{port}/v1")
    assert wrongs(found) == ["refused"]
    assert "check the port" in message(found)


def test_no_such_host() -> None:
    assert wrongs(diagnose("http://no-such-host.invalid/v1")) == ["dns"]


def test_no_answer_in_time() -> None:
    def slow(call: Call) -> Answer:
        time.sleep(0.6)
        return Answer(200, {})

    assert wrongs(of(slow, timeout=0.2)) == ["timeout"]


def test_https_where_http_is_spoken() -> None:
    with serving(Service()) as root:
        found = diagnose(root.replace("http://", "https://") + "/v1")
    assert wrongs(found) == ["tls"]
    assert "http:// instead" in message(found)


@pytest.mark.parametrize("url", ["localhost:1/v1", "ftp://host/v1", "http://[::1", "", "http://"])
def test_no_address(url: str) -> None:
    assert wrongs(diagnose(url)) == ["bad_url"]


def test_a_connection_that_breaks() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        import threading

        def hang_up() -> None:
            connection, _ = listening.accept()
            connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        found = diagnose(f"http://127.0.0.1:{listening.getsockname()[1]}/v1")
        thread.join()
    assert wrongs(found) == ["broken_connection"]


def test_a_redirect() -> None:
    found = of(lambda call: Answer(308, "", {"location": "https://elsewhere/v1"}))
    assert wrongs(found) == ["redirect"]
    assert "https://elsewhere/v1" in message(found)


def test_the_path_lacks_v1() -> None:
    found = of(Service(), path="")
    assert wrongs(found) == ["wrong_path"]
    assert "/v1/embeddings works" in message(found)


def test_the_path_has_v1_and_should_not() -> None:
    assert wrongs(of(Service(prefix=""))) == ["wrong_path"]


def test_the_path_is_an_endpoint() -> None:
    found = of(Service(), path="/v1/embeddings")
    assert wrongs(found) == ["wrong_path"]
    assert found.findings[0].advice.endswith("/v1.")


def test_a_web_page_answers() -> None:
    page = Answer(200, "<!doctype html><title>hello</title>", {"content-type": "text/html"})
    found = of(lambda call: page)
    assert wrongs(found) == ["wrong_path"]
    assert "a web page" in message(found)


def test_another_service_answers() -> None:
    assert wrongs(of(lambda call: Answer(404, {"detail": "Not Found"}))) == ["wrong_path"]


@pytest.mark.parametrize("status", [502, 503, 504])
def test_it_is_not_ready_by_its_own_word(status: int) -> None:
    assert wrongs(of(Service(health=status))) == ["not_ready" if status == 503 else "gateway"]


@pytest.mark.parametrize("lists", [True, False])
def test_the_key_is_missing_or_wrong(lists: bool) -> None:
    missing, other = of(Service(key="k", lists=lists)), of(Service(key="k", lists=lists), api_key="x")
    assert wrongs(missing) == wrongs(other) == ["wrong_key"]
    assert "asks for" in message(missing)
    assert "was refused" in message(other)


def test_no_such_model_and_which_there_are() -> None:
    found = of(Service(), model="other")
    assert wrongs(found) == ["no_such_model"]
    assert NAMES[0] in message(found)


def test_the_dimension_is_refused() -> None:
    found = of(Service(), model=NAMES[0], dimensions=1024)
    assert wrongs(found) == ["wrong_dimension"]
    assert "at most 16" in message(found)


def test_any_dimension_is_refused_as_other_servers_do_for_this_family() -> None:
    class Undeclared(Service):
        def embed(self, body: dict[str, Any]) -> Answer:
            said = "Model does not support matryoshka representation."
            return self.error(400, said) if "dimensions" in body else super().embed(body)

    found = of(Undeclared(), model=NAMES[0], dimensions=8)
    assert wrongs(found) == ["wrong_dimension"]
    assert "is_matryoshka" in message(found)


def test_the_dimension_is_ignored() -> None:
    class Ignoring(Service):
        def vectors(self, texts: list[str], dimension: int) -> list[list[Any]]:
            return super().vectors(texts, self.dimension)

    found = of(Ignoring(), dimensions=8)
    assert wrongs(found) == ["wrong_dimension"]
    assert "8 dimensions were asked for and 16 came back" in message(found)


@pytest.mark.parametrize(
    ("status", "said", "kind"),
    [
        (500, "CUDA out of memory. Tried to allocate 2 GiB", "out_of_memory"),
        (500, "boom", "server_error"),
        (429, "try again", "overloaded"),
        (503, "draining", "not_ready"),
        (413, "too large", "refused_request"),
    ],
)
def test_embeddings_are_refused(status: int, said: str, kind: str) -> None:
    found = of(refusing(status, said))
    assert wrongs(found) == [kind]
    assert said in message(found)


def test_it_fails_only_now_and_then() -> None:
    class Tired(Service):
        def embed(self, body: dict[str, Any]) -> Answer:
            return self.error(500, "boom") if len(self.calls) == 6 else super().embed(body)

    assert wrongs(of(Tired())) == ["server_error"]
