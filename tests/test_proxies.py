"""Proxies of the environment: this machine is asked without, and what cannot be used is named."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.cli.conftest import Ran, upsize  # noqa: F401 (a fixture)
from tests.diagnostics.misbehaving import Service
from tests.little_server import Answer, Call, serving
from upsize.errors import HubError, StoreUnavailable, UnusableProxy
from upsize.model.hub import HubOptions, locate
from upsize.proxies import async_client_options, client_options, is_loopback, proxy_for, readable_by_libraries

NAMES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
DEAD = "http://user:secret@127.0.0.1:9"
AWAY = "http://upsize.invalid:8000"
SETTINGS = [
    {"NO_PROXY": "localhost,[::1]"},
    {"ALL_PROXY": "socks5://127.0.0.1:9"},
    {"HTTP_PROXY": DEAD},
    {"http_proxy": "http://[::1"},
    {"HTTP_PROXY": "127.0.0.1:port", "NO_PROXY": "[::1]:8000,*"},
    {"ALL_PROXY": "ftp://x", "NO_PROXY": "10.0.0.0/8"},
]
Environment = Callable[..., None]


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Environment:
    """Set the variables, and no others that name proxies."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setitem(sys.modules, "socksio", None)

    def change(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return change


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST.", "a.localhost", "127.0.0.1", "127.9.9.9", "::1", "[::1]",
                                  "0.0.0.0", "::", "::ffff:127.0.0.1", "::1%lo"])  # fmt: skip
def test_this_machine(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["localhost.com", "128.0.0.1", "10.0.0.1", "fe80::1", "", "127.0.0.1.nip.io"])
def test_another_machine(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize(
    ("variables", "url", "used"),
    [
        ({"HTTP_PROXY": "http://p:1"}, "http://a.b/", "HTTP_PROXY (http://p:1)"),
        ({"HTTP_PROXY": "p:1"}, "http://a.b/", "HTTP_PROXY (http://p:1)"),
        ({"HTTP_PROXY": "http://u:pw@p:1"}, "http://a.b/", "HTTP_PROXY (http://p:1)"),
        ({"HTTP_PROXY": "http://p:1"}, "https://a.b/", None),
        ({"HTTP_PROXY": "http://p:1", "http_proxy": "http://q:1"}, "http://a.b/", "http_proxy (http://q:1)"),
        ({"ALL_PROXY": "http://p:1"}, "https://a.b/", "ALL_PROXY (http://p:1)"),
        ({"ALL_PROXY": "http://p:1"}, "http://127.0.0.1:8000/v1", None),
        ({"HTTP_PROXY": "http://p:1", "REQUEST_METHOD": "GET"}, "http://a.b/", None),
        ({"HTTP_PROXY": " "}, "http://a.b/", None),
        ({"HTTP_PROXY": "http://p:1"}, "no address", None),
        ({"HTTP_PROXY": "http://p:1"}, "http://[::1", None),
    ],
)
def test_which_proxy(environment: Environment, variables: dict[str, str], url: str, used: str | None) -> None:
    environment(**variables)
    proxy = proxy_for(url)
    assert (proxy and proxy.shown) == used


@pytest.mark.parametrize(
    ("excepted", "url", "direct"),
    [
        ("*", "http://a.b/", True),
        ("a.b", "http://a.b/", True),
        (".a.b", "http://x.a.b/", True),
        ("*.a.b", "http://x.a.b/", True),
        ("a.b", "http://xa.b/", False),
        ("b, a.b:8000", "http://a.b:8000/", True),
        ("a.b:8000", "http://a.b/", False),
        ("a.b:80", "http://a.b/", True),
        ("10.0.0.0/8", "http://10.1.2.3/", True),
        ("10.0.0.0/8", "http://11.1.2.3/", False),
        ("[fd00::1]", "http://[fd00::1]:8000/", True),
        ("[fd00::1]:8000", "http://[fd00::1]:8000/", True),
        ("[fd00::1]:8001", "http://[fd00::1]:8000/", False),
        ("fd00::/8", "http://[fd00::1]:8000/", True),
        ("http://a.b", "http://a.b/", True),
        ("localhost,[::1]", "http://a.b/", False),
        ("", "http://a.b/", False),
        (",,.", "http://a.b/", False),
    ],
)
def test_exceptions(environment: Environment, excepted: str, url: str, direct: bool) -> None:
    environment(HTTP_PROXY="http://p:1", NO_PROXY=excepted)
    assert (proxy_for(url) is None) == direct


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        (
            "ALL_PROXY",
            "socks5://user:secret@h:1080",
            r"^ALL_PROXY \(socks5://h:1080\): a SOCKS proxy needs",
        ),
        ("HTTP_PROXY", "ftp://h", r"^HTTP_PROXY \(ftp://h\): a proxy of this kind cannot be used"),
        ("http_proxy", "http://[::1", "^http_proxy is not the address of a proxy"),
        ("HTTP_PROXY", "h:port", "^HTTP_PROXY is not the address of a proxy"),
        ("HTTP_PROXY", "http://", "^HTTP_PROXY is not the address of a proxy: it has no host"),
    ],
)
def test_what_cannot_be_used_is_named(environment: Environment, variable: str, value: str, message: str) -> None:
    environment(**{variable: value})
    with pytest.raises(UnusableProxy, match=message) as caught:
        client_options("http://a.b/")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("variables", SETTINGS)
def test_this_machine_is_asked_directly_whatever_is_set(environment: Environment, variables: dict[str, str]) -> None:
    environment(**variables)
    assert proxy_for("http://localhost:1/") is None
    assert proxy_for("https://[::1]:1/") is None


def test_a_service_that_is_known_to_be_here_is_asked_directly(environment: Environment) -> None:
    environment(ALL_PROXY="socks5://h:1")
    for options in (client_options, async_client_options):
        assert "transport" in options("http://a.b/", direct=True)


def test_libraries_read_an_environment_that_httpx_can_read(environment: Environment) -> None:
    environment(HTTP_PROXY="http://p:1", NO_PROXY="localhost,[::1]:80,a.b")
    before = dict(os.environ)
    with readable_by_libraries(AWAY):
        assert os.environ["NO_PROXY"] == os.environ["no_proxy"] == "localhost,::1,a.b,127.0.0.1"
        httpx.Client().close()
    assert dict(os.environ) == before
    environment(ALL_PROXY="socks5://h")
    with pytest.raises(UnusableProxy, match="ALL_PROXY"), readable_by_libraries("http://localhost/"):
        pass


@pytest.mark.parametrize("variables", SETTINGS[:3])
def test_commands_reach_a_service_of_this_machine(
    environment: Environment,
    upsize: Callable[..., Ran],  # noqa: F811
    variables: dict[str, str],
) -> None:
    environment(**variables)
    with serving(Service()) as root:
        ran = upsize("doctor", "--base-url", f"{root}/v1")
        assert (ran.code, ran.out.strip().endswith("healthy")) == (0, True), ran
        ran = upsize("index", "status", "--base-url", root)
    assert (ran.code, "Not Found" in ran.err) == (1, True), ran  # it answers, and has no indexes


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"HTTP_PROXY": DEAD}, "through the proxy of HTTP_PROXY (http://127.0.0.1:9)"),
        ({"ALL_PROXY": "socks5://h:1"}, "ALL_PROXY (socks5://h:1): a SOCKS proxy needs the package 'socksio'"),
    ],
)
def test_commands_name_the_variable_of_a_proxy_that_fails(
    environment: Environment,
    upsize: Callable[..., Ran],  # noqa: F811
    variables: dict[str, str],
    said: str,
) -> None:
    environment(**variables)
    ran = upsize("doctor", "--base-url", f"{AWAY}/v1", "--timeout", 5)
    assert (ran.code, said in ran.out) == (1, True), ran
    assert "Nothing listens" not in ran.out
    ran = upsize("index", "status", "--base-url", AWAY)
    assert (ran.code, said in ran.err) == (1, True), ran
    assert "secret" not in ran.err


@pytest.mark.parametrize("variables", SETTINGS[:2])
def test_a_qdrant_server_of_this_machine(environment: Environment, variables: dict[str, str]) -> None:
    qdrant = pytest.importorskip(
        "upsize.store.qdrant", reason="qdrant-client is not installed: pip install 'upsize[qdrant]'"
    )
    environment(**variables)
    with socket.create_server(("127.0.0.1", 0)) as server:  # a port of its own, where nothing listens afterwards
        port = server.getsockname()[1]
    store = qdrant.QdrantStore(url=f"http://127.0.0.1:{port}")
    with pytest.raises(StoreUnavailable, match="refused"):
        store.create(qdrant.Table("t", 8))
    environment(ALL_PROXY="socks5://h:1", HTTP_PROXY="socks5://h:1", http_proxy="", NO_PROXY="")
    with pytest.raises(StoreUnavailable, match=r"HTTP_PROXY \(socks5://h:1\): a SOCKS proxy needs"):
        qdrant.QdrantStore(url=AWAY)


def test_the_hub(environment: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import close_session, constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", AWAY)
    close_session()
    environment(ALL_PROXY="socks5://h:1", NO_PROXY="localhost,[::1]")
    name = "someone/model"
    options = HubOptions(download_dir=str(tmp_path))
    with pytest.raises(HubError, match=r"is not in the cache .*, and the hub is not asked: ALL_PROXY \(socks5://h:1\)"):
        locate(name, options)
    snapshot = tmp_path / "models--someone--model" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("0" * 40)
    assert locate(name, options) == snapshot
    environment(ALL_PROXY=DEAD)
    with pytest.raises(HubError, match=r"cannot be reached from here through the proxy of ALL_PROXY \(http://127"):
        locate("someone/other", options)
    close_session()


def test_a_mirror_of_the_hub_on_this_machine(
    environment: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import close_session, constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    environment(HTTP_PROXY=DEAD, NO_PROXY="[::1]")
    close_session()
    asked: list[str] = []

    def nothing(call: Call) -> Answer:
        asked.append(call.path)
        return Answer(404, {"error": "none"})

    with serving(nothing) as root:
        monkeypatch.setattr(constants, "ENDPOINT", root)
        monkeypatch.setattr("huggingface_hub.hf_api.api.endpoint", root)
        with pytest.raises(HubError):
            locate("someone/model", HubOptions(download_dir=str(tmp_path)))
    close_session()
    assert any("someone/model" in path for path in asked)
