"""The app in a headless browser: run the sample, read the table, turn the dials, upload, a phone, no other host."""

from __future__ import annotations

import json
import re
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lem_models.app.limits import LIMITS
from tests.app.browser import Browser, chromium

pytest.importorskip("gradio", reason="the app needs gradio (extra app)")
pytest.importorskip("websockets", reason="the browser is driven through a websocket (extra serve)")

_READY = "document.querySelector('#lem-bars')?.innerText.includes('The sample')"
_OUTCOME = "document.querySelector('#lem-outcome table')"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the app."""
    from lem_models.app.server import start

    with pytest.MonkeyPatch.context() as patch:
        for name in ("GRADIO_ANALYTICS_ENABLED", "GRADIO_TEMP_DIR"):
            patch.setenv(name, "")  # set by the app, and put back afterwards
        patch.setattr("lem_models.app.dials.LIMITS", replace(LIMITS, orders=60))
        page, address = start(tmp_path_factory.mktemp("uploads"), "127.0.0.1", 0)
        try:
            yield address
        finally:
            page.close(verbose=False)


@pytest.fixture(scope="module")
def browser(address: str) -> Iterator[Browser]:
    """A browser that shows the app."""
    if chromium() is None:
        pytest.skip("there is no Chromium on this machine")
    with Browser() as opened:
        opened.open(address)
        opened.wait_for(_READY)
        yield opened


def rows(browser: Browser, selector: str) -> dict[str, list[str]]:
    """Cells of a table by the policy in the first one."""
    script = f"""JSON.stringify([...document.querySelectorAll('{selector} tbody tr')].map(
        row => [...row.cells].map(cell => cell.innerText.trim())))"""
    return {cells[0]: cells[1:] for cells in json.loads(browser.run(script))}


def dialled(text: str) -> str:
    """Whether the frontier of a dial is complete."""
    inside = f"document.querySelector('#lem-frontier').innerText.includes({json.dumps(text)})"
    return f"{inside} && !document.querySelector('#lem-frontier').innerText.includes(' points')"


def test_a_visitor_runs_the_sample_turns_the_dials_and_takes_a_phone(browser: Browser) -> None:
    from lem_models.app.form import OrderForm, read_form
    from lem_models.app.market import sample_market
    from lem_models.app.runs import run_order
    from lem_models.evaluation.capacity import net_improvements

    browser.fill("#lem-end textarea, #lem-end input", "6 days")
    browser.click("#lem-run")
    browser.wait_for("document.querySelector('#lem-figure img')")
    first = rows(browser, "#lem-standing")
    browser.wait_for(_OUTCOME)
    assert rows(browser, "#lem-standing") != first
    shown = rows(browser, "#lem-outcome")

    market = sample_market()
    aversion = float(browser.run("document.querySelector('#lem-risk input[type=number]').value"))
    form = OrderForm("SPX", "buy", "50 million units", "2018-02-01", "6 days", "1", risk_aversion=aversion)
    order, _ = read_form(form, market.bars, market.horizon)
    run = run_order(market, order, market.model, market.baselines, market.costs, 0.01)
    assert list(shown) == list(run.results)
    for policy, result in run.results.items():
        expected = net_improvements(result.orders).iloc[0]
        bars, _, gross, _, net, *_ = (float(re.sub("[,%]", "", cell.replace("−", "-"))) for cell in shown[policy])
        assert bars == result.orders["periods_used"].item()
        assert (gross, net) == pytest.approx((expected["gross_own"], expected["net_own"]), abs=0.051)

    browser.wait_for(dialled("orders like this one"))
    before = browser.run("document.querySelector('#lem-frontier img').src")
    browser.fill("#lem-risk input[type=number]", "1.6")
    browser.wait_for(dialled("risk aversion 1.6"))
    browser.fill("#lem-size input[type=number]", "5")
    browser.wait_for(dialled("5.00%"))
    assert browser.run("document.querySelector('#lem-frontier img').src") != before

    report, orders, schedule = (
        browser.download(f"#lem-{name}", file).decode()
        for name, file in (("report", "report.html"), ("orders", "orders.csv"), ("schedule", "schedule.csv"))
    )
    assert "The risk dial" in report
    assert orders.startswith("policy,order_id,symbol,start,side")
    assert schedule.startswith("policy,timestamp,period")
    assert len(schedule.splitlines()) > 6

    browser.resize(390, 844)  # a phone: nothing is cut off, and only tables scroll sideways
    browser.wait_for("Math.max(document.documentElement.scrollWidth, window.innerWidth) === 390")
    for selector in ("#lem-run", "#lem-bar", "#lem-figure img", "#lem-risk", "#lem-frontier img"):
        box = f"document.querySelector('{selector}').getBoundingClientRect()"
        assert browser.run(f"{box}.width > 60 && {box}.left >= 0 && {box}.right <= 390"), selector
    browser.resize(1280, 1600)


def test_a_bad_upload_is_answered_in_words(browser: Browser, tmp_path: Path) -> None:
    head = b"timestamp,symbol,open,high,low,close,volume,notional\n"
    _upload(browser, tmp_path, "bars.csv", head + b"2024-01-01T00:00Z,<b>X</b>,1,2,0.5,-1,1,1\n")
    browser.wait_for("document.querySelector('#lem-bars .bad')")
    text = browser.text("#lem-bars")
    assert "close is -1.0, a price is above 0; 1 row breaks the rule (symbol '<b>X</b>'" in text
    assert all(folder not in text for folder in ("/tmp", str(tmp_path)))
    assert not browser.run("!!document.querySelector('#lem-bars b')")  # what a file says is a text


def test_a_good_upload_is_traded(browser: Browser, tmp_path: Path) -> None:
    from lem_models import synthetic_bars

    bars = synthetic_bars(symbols=("BTCUSDT",), days=40, seed=4)
    bars.write(tmp_path / "mine.csv")
    _upload(browser, tmp_path, "mine.csv", (tmp_path / "mine.csv").read_bytes())
    browser.wait_for("document.querySelector('#lem-bars')?.innerText.includes('mine.csv: 960 bars')")
    browser.fill("#lem-end textarea, #lem-end input", "3h")
    browser.run("document.querySelector('#lem-outcome').innerText")
    browser.click("#lem-run")
    browser.wait_for("document.querySelector('#lem-status').innerText.startsWith('buy BTCUSDT, 3 bars at most')")
    browser.wait_for(_OUTCOME)
    assert "lem-crypto-hourly" in rows(browser, "#lem-outcome")


def test_nothing_was_asked_of_another_host_and_nothing_failed(browser: Browser, address: str) -> None:
    asked = [url for url in browser.requested if not url.startswith(("data:", "blob:", "about:"))]
    assert len(asked) > 20
    assert [url for url in asked if not url.startswith((address, address.replace("http", "ws", 1)))] == []
    assert browser.errors == []


def _upload(browser: Browser, folder: Path, name: str, content: bytes) -> None:
    browser.open(browser.run("location.href"))
    browser.wait_for(_READY)
    browser.click("#lem-source input[value^='My']")
    browser.wait_for("document.querySelector('#lem-file input[type=file]')?.offsetParent !== undefined")
    (folder / name).write_bytes(content)
    browser.wait_for("document.querySelector('#lem-bars').innerText.includes('Choose a file')")
    browser.choose_file("#lem-file input[type=file]", folder / name)


# --- what a request may not do ---------------------------------------------------------------------------------------


def fetch(url: str, body: bytes | None = None) -> tuple[int, bytes, dict[str, str]]:
    """Status, content and headers of an answer."""
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"} if body else {})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=30) as answer:
            return answer.status, answer.read(), {k.lower(): v for k, v in answer.headers.items()}
    except urllib.error.HTTPError as error:
        return error.code, error.read(), {k.lower(): v for k, v in error.headers.items()}


@pytest.mark.parametrize(
    "path",
    [
        *("gradio_api/file=http://127.0.0.1:{port}/x", "gradio_api/file=HTTPS%3A//127.0.0.1:{port}/x"),
        *("gradio_api/proxy=http://127.0.0.1:{port}/x", "monitoring", "gradio_api/mcp/sse", "gradio_api/vibe-code"),
    ],
)
def test_the_app_fetches_no_address(address: str, path: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        other.settimeout(0.3)
        status, _, _ = fetch(address + path.format(port=other.getsockname()[1]))
        assert status == 404
        with pytest.raises(TimeoutError):
            other.accept()


@pytest.mark.parametrize("path", ["/etc/passwd", "/proc/self/environ", "../../etc/passwd", __file__])
def test_the_app_gives_no_file_but_its_own(address: str, path: str) -> None:
    assert fetch(f"{address}gradio_api/file={path}")[0] in (403, 404)


def _call(address: str, path: str) -> tuple[int, bytes]:
    """Ask the app to read bars from a path, as a client of its own might."""
    config = json.loads(fetch(f"{address}config")[1])
    reads = [each for each in config["dependencies"] if len(each["inputs"]) == 6 and len(each["outputs"]) == 10]
    file = {"path": path, "orig_name": "bars.csv", "meta": {"_type": "gradio.FileData"}}
    body = {"data": ["My own file", file, "", "", "auto", []], "fn_index": reads[0]["id"], "session_hash": "visitor"}
    status, content, _ = fetch(f"{address}gradio_api/queue/join", json.dumps(body).encode())
    if status != 200:
        return status, content
    return status, fetch(f"{address}gradio_api/queue/data?session_hash=visitor")[1]


@pytest.mark.parametrize(
    "path", ["http://127.0.0.1:9/x.csv", " https://example.org/x.csv", "//host/x.csv", "file:///etc"]
)
def test_a_file_is_uploaded_and_never_fetched(address: str, path: str) -> None:
    status, content = _call(address, path)
    assert (status, json.loads(content)["detail"]) == (400, "a file is uploaded, and never fetched from an address")


@pytest.mark.parametrize("path", ["/etc/passwd", __file__])
def test_a_path_of_the_server_is_not_an_upload(address: str, path: str) -> None:
    status, content = _call(address, path)
    assert status == 200
    assert b'"success":false' in content
    assert b"root:" not in content


def test_requests_are_small_and_answers_have_a_policy(address: str) -> None:
    assert fetch(f"{address}gradio_api/queue/join", b"[" + b"0," * LIMITS.body_bytes + b"0]")[0] == 413
    assert fetch(f"{address}gradio_api/queue/join", b"[" * 200 + b"]" * 200)[0] in (400, 422)
    status, _, headers = fetch(address)
    assert status == 200
    assert "connect-src 'self'" in headers["content-security-policy"]
