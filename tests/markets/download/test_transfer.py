"""Polite requests: a pace, waits that a server asks for, and answers of bounded size."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from lem_models.errors import ConfigError, DownloadError
from lem_models.markets.download.transfer import Manners, Transfer, check_address, seconds_to_wait
from tests.markets.download.web import Answer, serving

QUICK = Manners(per_second=1000, first_wait=0.05, longest_wait=2.0, attempts=3, timeout=5.0)


@pytest.fixture
def web():
    with serving(lambda asked: Answer(404) if asked.path == "/none" else Answer(body=b"hello")) as web:
        yield web


def test_the_body(web):
    assert Transfer(QUICK).get(f"{web.url}/a", 5) == b"hello"
    assert web.asked[0].headers["user-agent"].startswith("lem-models/")


def test_a_body_that_is_too_large(web):
    with pytest.raises(DownloadError, match="sends 5 bytes, more than 4"):
        Transfer(QUICK).get(f"{web.url}/a", 4)


def test_a_body_that_drips(web):
    web.faults["/a"] = [Answer(body=b"x" * 1000, drip=0.05)] * 2
    started = time.monotonic()
    with pytest.raises(DownloadError, match=r"TimeoutError: after 0 s \d+ bytes have arrived"):
        Transfer(replace(QUICK, attempts=2, patience=0.3)).get(f"{web.url}/a", 1000)
    assert time.monotonic() - started < 5.0
    assert len(web.asked) == 2


def test_what_is_missing_is_not_asked_for_again(web):
    with pytest.raises(DownloadError, match="there is no such file") as caught:
        Transfer(QUICK).get(f"{web.url}/none", 5)
    assert caught.value.status == 404
    assert len(web.asked) == 1


def test_waits_double_until_the_last_attempt(web):
    web.faults["/a"] = [Answer(500)] * 3
    with pytest.raises(DownloadError, match="answers 500"):
        Transfer(QUICK).get(f"{web.url}/a", 5)
    first, second, third = (asked.at for asked in web.asked)
    assert second - first >= 0.05
    assert third - second >= 0.10


def test_requests_keep_their_distance(web):
    transfer = Transfer(Manners(per_second=50))
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda number: transfer.get(f"{web.url}/{number}", 5), range(11)))
    times = sorted(asked.at for asked in web.asked)
    assert times[-1] - times[0] >= 0.9 * 10 / 50


def test_all_threads_wait_when_one_is_asked_to(web):
    web.faults["/first"] = [Answer(429, headers={"Retry-After": "1"})]
    transfer = Transfer(QUICK)
    first = threading.Thread(target=transfer.get, args=(f"{web.url}/first", 5))
    first.start()
    while not web.asked:
        time.sleep(0.001)
    time.sleep(0.2)  # the answer has arrived
    transfer.get(f"{web.url}/second", 5)
    first.join()
    refused, *others = sorted(asked.at for asked in web.asked)
    assert len(others) == 2
    assert all(at - refused >= 0.95 for at in others)


def test_a_transfer_that_is_stopped_waits_no_longer(web):
    web.faults["/a"] = [Answer(429, headers={"Retry-After": "2"})]
    transfer = Transfer(QUICK)
    threading.Timer(0.2, transfer.stop).start()
    started = time.monotonic()
    with pytest.raises(DownloadError, match="was stopped"):
        transfer.get(f"{web.url}/a", 5)
    assert time.monotonic() - started < 1.5


def test_errors_hold_no_request(web):
    with pytest.raises(DownloadError) as caught:
        Transfer(QUICK).get(f"{web.url}/none", 5)
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("header", [None, "", "soon", "-3", "1e9", "9" * 20, "\u0663"])
def test_a_wait_that_cannot_be_read(header):
    assert seconds_to_wait(header) is None


def test_a_date_in_the_past_is_no_wait():
    assert seconds_to_wait("Sun, 06 Nov 1994 08:49:37 GMT") == 0.0


@pytest.mark.parametrize(
    "address",
    [
        "",
        "file:///etc/passwd",
        "ftp://host",
        "http://",
        "http://user:pass@host",
        "http://h/?a=1",
        "http://h/#a",
        "http://h/ a",
    ],
)
def test_what_is_no_address(address):
    with pytest.raises(ConfigError, match="is not the address of a source"):
        check_address(address)
