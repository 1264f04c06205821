"""Hostile data sets: each gives its typed error before it gets what it asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lem_models.errors import BarsError, LEMError
from lem_models.guard.parquet import GuardedParquet, Limits
from lem_models.hub.datasets.pull import frame_of, load_bars
from lem_models.markets.bars import Bars
from tests.hub.datasets.hostile_data import HOSTILE
from tests.hub.datasets.market_data import LICENCE, NAME, market, parquet, plain_frame

LARGEST = 150 << 20
"""Bytes that reading a hostile file may take."""


@pytest.fixture
def pool() -> Iterator[Callable[[], pa.MemoryPool]]:
    """Counts what Arrow allocates from now on."""
    before = pa.default_memory_pool()

    def start() -> pa.MemoryPool:
        counting = pa.proxy_memory_pool(pa.system_memory_pool())
        pa.set_memory_pool(counting)
        return counting

    yield start
    pa.set_memory_pool(before)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused(hub, pool, tmp_path, name):
    builder, message = HOSTILE[name]
    hub.create(NAME, {"train.parquet": builder()}, kind="datasets")
    counting = pool()
    with pytest.raises(LEMError, match=message):
        Bars.from_hub(NAME)
    with pytest.raises(LEMError, match=message):
        Bars.from_hub(NAME, streaming=True).write(tmp_path / "bars.arrow")
    assert [path.name for path in tmp_path.iterdir()] == ["home"]
    assert counting.max_memory() < LARGEST


class Memory:
    """A file in memory."""

    def __init__(self, data: bytes) -> None:
        self.name, self.size, self.data = "a file", len(data), data

    def fetch(self, first: int, last: int) -> bytes:
        return self.data[first:last]


def read(data: bytes, limits: Limits | None = None) -> Bars:
    return Bars.from_frame(frame_of(list(GuardedParquet(Memory(data), limits).pieces())))


@pytest.mark.parametrize("field", ["columns", "group_rows", "group_bytes", "footer"])
def test_every_limit_is_kept(field):
    data = parquet(plain_frame())
    assert len(read(data)) == 48
    with pytest.raises(BarsError):
        read(data, replace(Limits(), **{field: 7}))


def test_files_that_are_too_much_together_are_refused(hub):
    content = parquet(plain_frame(480).assign(volume=1.0), compression="zstd", use_dictionary=False)
    hub.create(NAME, {f"train-{number}.parquet": content for number in range(2)}, kind="datasets")
    with pytest.raises(BarsError, match=f"would take {2 * len(content):,} bytes.* it is read piece by piece"):
        load_bars(NAME, limits=Limits(total_bytes=2 * len(content) - 1))
    assert not [request for request in hub.requests if request.host == "storage"]
    with pytest.raises(BarsError, match="with streaming=True it is read piece by piece"):
        load_bars(NAME, limits=Limits(total_bytes=2 * len(content)))
    assert [request for request in hub.requests if request.host == "storage"]


VALID = parquet(plain_frame(480), compression="zstd", write_page_checksum=True, row_group_size=200)
EXPECTED = Bars.from_frame(plain_frame(480)).content_hash


def answer(data: bytes) -> None:
    """Either the bars themselves or a typed error."""
    try:
        found = read(data).content_hash
    except LEMError:
        return
    assert found == EXPECTED


@pytest.mark.parametrize("part", range(20))
def test_a_file_that_was_cut_off_is_refused(part):
    with pytest.raises(BarsError):
        read(VALID[: len(VALID) * part // 20])


@settings(max_examples=80)
@given(st.lists(st.tuples(st.integers(0, len(VALID) - 1), st.integers(1, 255)), min_size=1, max_size=4))
def test_changed_bytes_are_an_error_or_of_no_effect(changes):
    data = bytearray(VALID)
    for at, by in changes:
        data[at] ^= by
    answer(bytes(data))


@settings(max_examples=80)
@given(st.lists(st.tuples(st.integers(1, 5000), st.integers(1, 255)), min_size=1, max_size=3))
def test_changed_bytes_of_the_footer_are_an_error_or_of_no_effect(changes):
    data = bytearray(VALID)
    for back, by in changes:
        data[-back] ^= by
    answer(bytes(data))


# --- names, cards, code ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "../../x.parquet",
        "/etc/x.parquet",
        "data/../../x.parquet",
        "C:/x.parquet",
        "a\\..\\x.parquet",
        "//host/x.parquet",
        "data/\n.parquet",
        "data/\x1b[2J.parquet",
        "./x.parquet",
    ],
)
def test_names_that_lead_out_of_the_repository_are_refused(hub, path):
    hub.create(NAME, {path: parquet(plain_frame()), "train.parquet": parquet(plain_frame())}, kind="datasets")
    with pytest.raises(LEMError, match="may lead out of it: nothing was read"):
        Bars.from_hub(NAME)
    assert not [request for request in hub.requests if "/resolve/" in request.path]


def card(data_files: str) -> bytes:
    return f"---\nconfigs:\n- config_name: default\n  data_files: {data_files}\n---\n".encode()


LAUGHS = b"a: &a [x, x, x, x, x, x, x, x, x, x]\n" + b"".join(
    b"%c: &%c [%b]\n" % (now, now, b", ".join([b"*%c" % before] * 10)) for before, now in pairwise(b"abcdefghi")
)
SHARED = (
    b"x: &x [" + b"a, " * 10_000 + b"]\nconfigs:\n- config_name: default\n  data_files:\n"
    b"  - &e {split: train, path: *x}\n" + b"  - *e\n" * 10_000
)


@pytest.mark.parametrize("bomb", [LAUGHS, SHARED], ids=["laughs", "shared"])
def test_a_card_that_stands_for_too_much_is_not_built_upon(hub, bomb):
    hub.create(NAME, {"README.md": b"---\n" + bomb + b"---\n"}, kind="datasets")
    with pytest.raises(LEMError, match="stands for more than"):
        market().push_to_hub(NAME, licence=LICENCE, token=hub.token)


def test_a_commit_that_is_none_becomes_no_file_name(hub, tmp_path):
    repository = hub.create(NAME, {"train.parquet": parquet(plain_frame())}, kind="datasets")
    repository.branches["main"] = replace(repository.at("main"), sha="../../../../evil")
    with pytest.raises(LEMError, match="its commit is not a hash"):
        Bars.from_hub(NAME)
    assert not list(tmp_path.rglob("*evil*"))


@pytest.mark.parametrize(
    "pattern",
    [
        "../**",
        "/etc/*",
        "https://127.0.0.1/x.parquet",
        "hf://datasets/a/b/x.parquet",
        "file:///etc/passwd",
        "a\\b",
        "C:x",
    ],
)
def test_data_files_outside_of_the_repository_are_refused(hub, pattern):
    hub.create(NAME, {"README.md": card(repr(pattern)), "train.parquet": parquet(plain_frame())}, kind="datasets")
    with pytest.raises(LEMError, match="which are not in the repository"):
        Bars.from_hub(NAME)
    assert not [request for request in hub.requests if request.path.endswith(".parquet")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (card("!!python/object/apply:os.system ['touch /tmp/lem-was-here']"), "cannot be read"),
        (card("{split: train}"), "is wrong"),
        (card("[{split: 3, path: 4}]"), "is wrong"),
        (b"---\nconfigs: everything\n---\n", "is wrong"),
        (b"---\nconfigs: [[[[\n---\n", "cannot be read"),
        (b"---\n" + b"[" * 50_000 + b"\n---\n", "cannot be read"),
        (b"---\n" + LAUGHS + b"---\n", "stands for more than"),
        (b"---\n" + SHARED + b"---\n", "stands for more than"),
        (b"---\nconfigs: !!timestamp x\n---\n", "does not fit its tag"),
        (b"---\na: \xff\n---\n", "cannot be read"),
        (b"---\n---\n" + b"x" * (2 << 20), "more than 1,048,576"),
    ],
)
def test_a_card_that_makes_no_sense_is_refused(hub, text, message):
    hub.create(NAME, {"README.md": text, "train.parquet": parquet(plain_frame())}, kind="datasets")
    with pytest.raises(LEMError, match=message):
        Bars.from_hub(NAME)


def test_a_pattern_that_takes_long_to_compare_is_compared_fast(hub):
    name = f"data/{'a' * 200}.parquet"
    hub.create(NAME, {"README.md": card(repr("*a" * 40 + "b")), name: parquet(plain_frame())}, kind="datasets")
    with pytest.raises(LEMError, match="no parquet file"):
        Bars.from_hub(NAME)


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [("data/*", True), ("**/train-*", True), ("*", False), ("data/train-0.parque?", True), ("train-*", False)],
)
def test_patterns_find_what_they_name(hub, pattern, matches):
    hub.create(
        NAME, {"README.md": card(repr(pattern)), "data/train-0.parquet": parquet(plain_frame())}, kind="datasets"
    )
    if matches:
        assert len(Bars.from_hub(NAME)) == 48
    else:
        with pytest.raises(LEMError, match="only parquet is read"):
            Bars.from_hub(NAME)


SCRIPT = b"raise SystemExit('this code was run')\n"


def test_code_in_a_repository_is_never_fetched(hub):
    hub.create(NAME, {"bars.py": SCRIPT, "train.parquet": parquet(plain_frame())}, kind="datasets")
    assert len(Bars.from_hub(NAME)) == 48
    hub.create("desk/script", {"script.py": SCRIPT, "data.csv": b"a,b\n"}, kind="datasets")
    with pytest.raises(LEMError, match="no parquet file"):
        Bars.from_hub("desk/script")
    assert not [request for request in hub.requests if request.path.endswith((".py", ".csv"))]
