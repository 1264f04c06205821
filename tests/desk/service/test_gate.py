"""Who may come in, and how much they may bring."""

import json

import httpx
import pytest
from pydantic import SecretStr
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.sync.client import connect

from lem_models.desk.service import ServiceSettings
from lem_models.desk.service.settings import read_token
from lem_models.errors import ConfigError
from tests.desk.service.client import served

TOKEN = "a-token-of-enough-characters"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    with served(tmp_path_factory.mktemp("gate") / "desk.db", token=SecretStr(TOKEN), max_body=4096) as address:
        yield address


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    with served(tmp_path_factory.mktemp("gate") / "desk.db") as address:
        yield address


@pytest.mark.parametrize("given", ["", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x"])
def test_the_token_is_asked_for(guarded, given):
    for path in ("/status", "/metrics", "/openapi.json", "/nothing"):
        reply = httpx.get(guarded + path, headers={"Authorization": given})
        assert reply.status_code == 401
        assert reply.headers["www-authenticate"] == "Bearer"
        assert reply.headers["content-type"] == "application/problem+json"


def test_the_token_opens(guarded):
    assert httpx.get(f"{guarded}/status", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert httpx.get(f"{guarded}/").status_code == 200
    assert httpx.get(f"{guarded}/health").json() == {"status": "ok"}


def test_the_stream_asks_for_the_token(guarded):
    url = guarded.replace("http", "ws") + "/stream"
    with pytest.raises((InvalidStatus, ConnectionClosedError)), connect(url) as stream:
        stream.recv(timeout=5)
    with connect(url, additional_headers={"Authorization": f"Bearer {TOKEN}"}) as stream:
        assert json.loads(stream.recv(timeout=5))["type"] == "snapshot"


def test_large_bodies_are_refused(guarded):
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    reply = httpx.post(f"{guarded}/fills", content=b" " * 5000, headers=headers)
    assert reply.status_code == 413
    chunked = httpx.post(f"{guarded}/fills", content=iter([b" " * 1000] * 10), headers=headers)
    assert chunked.status_code == 413
    assert chunked.headers["content-type"] == "application/problem+json"


def test_a_page_of_a_browser_cannot_use_an_open_service(local):
    port = local.rpartition(":")[2]
    assert httpx.get(f"{local}/status", headers={"Host": f"evil.example:{port}"}).status_code == 421
    assert httpx.get(f"{local}/status", headers={"Origin": "http://evil.example"}).status_code == 403
    assert httpx.get(f"{local}/status", headers={"Origin": local}).status_code == 200
    with (
        pytest.raises((InvalidStatus, ConnectionClosedError)),
        connect(local.replace("http", "ws") + "/stream", origin="http://evil.example") as stream,
    ):
        stream.recv(timeout=5)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "desk.example"])
def test_other_machines_need_a_token(host):
    with pytest.raises(ConfigError, match="so a token is needed"):
        ServiceSettings(host=host).check()
    ServiceSettings(host=host, token=SecretStr(TOKEN)).check()


def test_tokens_are_read(tmp_path):
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    assert read_token(file).get_secret_value() == TOKEN
    assert read_token(None, {"LEM_SERVE_TOKEN": TOKEN}).get_secret_value() == TOKEN
    assert read_token(None, {}) is None
    file.write_text("")
    with pytest.raises(ConfigError, match="is empty"):
        read_token(file)
    with pytest.raises(ConfigError, match="16 to 512"):
        ServiceSettings(token=SecretStr("short")).check()
