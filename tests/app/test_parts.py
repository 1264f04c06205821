"""The parts of the app without a browser: uploads, the order of the form, the run, the dials."""

from __future__ import annotations

import gzip
import io
import zipfile
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from lem_models import synthetic_bars
from lem_models.app.dials import Dials
from lem_models.app.form import OrderForm, read_form
from lem_models.app.limits import LIMITS
from lem_models.app.market import AppMarket, policy_named
from lem_models.app.runs import Run, run_order
from lem_models.app.uploads import ReadSettings, read_upload
from lem_models.app.words import in_words, note_in_words
from lem_models.errors import BarsError, LEMError, OrderError, UnknownNameError
from lem_models.markets.bars import Bars


@pytest.fixture(scope="module")
def bars() -> Bars:
    return synthetic_bars(symbols=("BTCUSDT", "ETHUSDT"), days=40, seed=4)


@pytest.fixture(scope="module")
def market(bars: Bars) -> AppMarket:
    return AppMarket.of_bars(bars, "mine.csv")


@pytest.fixture(scope="module")
def run(market: AppMarket) -> Run:
    form = OrderForm("BTCUSDT", "buy", "40 BTC", "2024-01-20 10:00", "6h", "1h", risk_aversion=0.3)
    order, _ = read_form(form, market.bars, market.horizon)
    return run_order(market, order, market.model, ["twap", "volume_curve"], "crypto", 0.01)


# --- uploads ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "parquet", "arrow"])
def test_every_format_is_read(bars: Bars, tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"a [b]*{{file}}.{suffix}"  # a name that is a pattern
    bars.write(tmp_path / f"plain.{suffix}")
    (tmp_path / f"plain.{suffix}").rename(file)
    read, _ = read_upload(str(file), tmp_path)
    assert read.content_hash == bars.content_hash


def test_bars_of_a_vendor_are_read_with_what_the_visitor_says(tmp_path: Path) -> None:
    rows = ["Date,Open,High,Low,Close,Volume", *(f"2024-01-{day:02d},10,11,9,10,100" for day in range(1, 29))]
    (tmp_path / "prices.csv").write_text("\n".join(rows))
    read, notes = read_upload(str(tmp_path / "prices.csv"), tmp_path, ReadSettings(symbol="KO", tz="UTC"))
    assert read.symbols == ("KO",)
    assert any("estimate" in note for note in notes)


def test_a_table_without_a_symbol_has_the_name_of_its_file_and_says_so(tmp_path: Path) -> None:
    rows = ["Date,Open,High,Low,Close,Volume", *(f"2024-01-{day:02d},10,11,9,10,100" for day in range(1, 29))]
    rows.insert(5, rows[4])
    (tmp_path / "KO.csv").write_text("\n".join(rows))
    with pytest.raises(BarsError, match="drop_repeats") as error:
        read_upload(str(tmp_path / "KO.csv"), tmp_path)
    assert in_words(error.value).endswith("On this page: 'Repairs' under 'How the file is read'")
    read, notes = read_upload(str(tmp_path / "KO.csv"), tmp_path, ReadSettings(repair=("drop_repeats",)))
    assert (read.symbols, len(read)) == (("KO",), 28)
    assert notes[0].startswith("The table names no symbol: its bars are called KO, as the file")
    assert not any("--notional" in note for note in map(note_in_words, notes))


@pytest.mark.parametrize("where", ["outside", "link", "folder", "missing"])
def test_only_an_upload_is_opened(bars: Bars, tmp_path: Path, where: str) -> None:
    uploads, secret = tmp_path / "uploads", tmp_path / "secret.csv"
    uploads.mkdir()
    bars.write(secret)
    (uploads / "link.csv").symlink_to(secret)
    path = {
        "outside": secret,
        "link": uploads / "link.csv",
        "folder": uploads,
        "missing": uploads / ".." / "secret.csv" / "x.csv",
    }[where]
    with pytest.raises(BarsError, match="the file is not an upload"):
        read_upload(str(path), uploads)


def _zipped(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.csv", content)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.exe", b"x", "is no file of bars"),
        ("csv", b"x", "is no file of bars"),
        ("a.csv", b"x" * 4096, "has 4,096 bytes, and 2,000 bytes are read at most"),
        ("a.csv.gz", gzip.compress(b"0" * 200_000), "cannot be read as csv.gz: it would expand to more than 100,000"),
        ("a.zip", _zipped(b"0" * 200_000), "cannot be read as zip: it would expand to more than 100,000"),
        ("a.parquet", b"PAR1", "a.parquet"),
        ("a.arrow", b"ARROW1", "a.arrow"),
        ("a.json", b"{", "a.json"),
        ("a.csv", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "cannot be read as csv: it is no text: a picture"),
        ("a.txt", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "cannot be read as txt: it is no text: a picture"),
        ("a.csv", "time,open\n".encode("utf-16"), "cannot be read as csv: it is a text in UTF-16: save it as UTF-8"),
        ("a.txt", b"hello", "the table has no format that is known: it has the columns 'hello'"),
        ("a.csv", b"Date;Open;High;Low;Close;Volume\n2024-01-02;1,5;1,5;1,5;1,5;9\n", "write decimal points"),
    ],
)
def test_a_wrong_file_is_refused_before_it_is_unpacked(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BarsError) as error:
        read_upload(str(tmp_path / name), tmp_path, limits=replace(LIMITS, upload_bytes=2000, unpacked_bytes=100_000))
    assert said in str(error.value)
    assert all(folder not in str(error.value).replace(name, "") for folder in ("/tmp", str(tmp_path)))


@pytest.mark.parametrize(
    ("limit", "said"), [("rows", "1,920 bars, and 1 bars"), ("symbols", "2 symbols, and 1 symbols")]
)
def test_more_bars_than_the_app_takes_are_refused(bars: Bars, tmp_path: Path, limit: str, said: str) -> None:
    bars.write(tmp_path / "a.csv")
    with pytest.raises(BarsError, match=said):
        read_upload(str(tmp_path / "a.csv"), tmp_path, limits=replace(LIMITS, **{limit: 1}))


# --- the order -------------------------------------------------------------------------------------------------------


def test_the_order_of_the_form_is_in_units_and_dates(bars: Bars) -> None:
    form = OrderForm("BTCUSDT", "sell", "40 BTC", "2024-01-20 10:20", "2024-01-20 20:00", "2h", lot_size="0.5")
    order, notes = read_form(form, bars, 24)
    assert (order.start.isoformat(), order.min_periods, order.max_periods) == ("2024-01-20T11:00:00+00:00", 2, 9)
    assert (order.amount, order.target.value, order.lot_size) == (40.0, "quantity", 0.5)
    assert notes == ("The order starts with the next bar, at 2024-01-20 11:00 UTC",)


@pytest.mark.parametrize(
    ("changes", "kind", "said"),
    [
        ({"symbol": "BTC"}, UnknownNameError, "unknown symbol 'BTC'; did you mean 'BTCUSDT'"),
        ({"side": "hold"}, OrderError, "side must be one of"),
        ({"amount": "40 apples"}, OrderError, "'apples' is neither a unit of BTCUSDT nor a currency"),
        ({"amount": "9" * 300}, OrderError, "amount has more than 80 letters"),
        ({"start": "20/01/2024"}, OrderError, "start: '20/01/2024' is not a time in ISO 8601"),
        ({"start": ""}, OrderError, "start: it is empty"),
        ({"start": "2030-01-01"}, OrderError, "start"),
        ({"end": "25h"}, OrderError, "this policy's horizon is 24 bars"),
        ({"end": "9" * 70}, OrderError, "end"),
        ({"shortest": "90 min"}, OrderError, "min_duration is '90 min', and it is 1.5 bars of 1h"),
        ({"amount": "", "lot_size": "1"}, OrderError, "lot_size needs an amount"),
        ({"amount": "1 million USD", "lot_size": "1"}, OrderError, "lots are units, and the amount is money"),
        ({"benchmark": "close"}, OrderError, "benchmark must be one of"),
    ],
)
def test_a_wrong_field_is_named(market: AppMarket, changes: dict[str, str], kind: type[Exception], said: str) -> None:
    form = replace(OrderForm("BTCUSDT", "buy", "40 BTC", "2024-01-20 10:00", "6h", "1h"), **changes)

    def execute() -> None:  # an order that the form takes may still lie outside the bars
        order, _ = read_form(form, market.bars, 24)
        run_order(market, order, "twap", [], "none", 0.01)

    with pytest.raises(kind) as error:
        execute()
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OrderError("max_duration is 0 bars", field="max_duration"), "End is 0 bars (field 'End')"),
        (BarsError("no zone: tz='UTC' (--tz UTC)"), "Zone of times without one' under 'How the file is read'"),
        (BarsError("name a way (--notional vwap)"), "This page has no such setting: change the file"),
        (
            BarsError("no format; name one, format=... (--format)", rule="known format"),
            "no format. Rename the columns to timestamp, symbol, open, high, low, close, volume and, if known,",
        ),
    ],
)
def test_errors_name_fields_of_the_page(error: LEMError, said: str) -> None:
    assert said in in_words(error)


@pytest.mark.parametrize("name", ["org/model", "/etc", "mine.py:Policy", "oracle_vwap", ""])
def test_policies_come_from_the_closed_list(name: str) -> None:
    with pytest.raises(UnknownNameError, match="unknown policy"):
        policy_named(name)


# --- the run and the dials -------------------------------------------------------------------------------------------


def test_the_last_bar_of_the_path_is_the_outcome(run: Run) -> None:
    last = run.paths[run.paths["period"] == run.bars].set_index("policy")
    for policy, result in run.results.items():
        order = result.orders.iloc[0]
        row = last.loc[policy]
        assert row["improvement_bps"] == pytest.approx(-order["slippage_bps"])
        assert (row["done"], row["executed"]) == pytest.approx((1.0, order["executed_price"]))
        assert run.paths.query("policy == @policy")["amount"].sum() == pytest.approx(40.0)


def test_what_stands_after_a_bar_does_not_depend_on_later_ones(run: Run, market: AppMarket) -> None:
    frame = market.bars.frame
    later = frame["timestamp"] >= pd.Timestamp(run.order.start) + pd.Timedelta(hours=3)
    for column in ("open", "high", "low", "close", "notional"):
        frame.loc[later, column] *= 1.2
    changed = AppMarket.of_bars(Bars.from_frame(frame), "changed")
    again = run_order(changed, run.order, run.tested, ["twap", "volume_curve"], "crypto", 0.01)
    columns = ["policy", "period", "vwap", "volume", "fraction", "done", "executed"]
    before = run.paths[run.paths["period"] <= 3][columns].reset_index(drop=True)
    after = again.paths[again.paths["period"] <= 3][columns].reset_index(drop=True)
    pd.testing.assert_frame_equal(before, after, check_exact=True)


def test_a_baseline_that_cannot_run_is_left_out_with_a_note(market: AppMarket) -> None:
    form = OrderForm("BTCUSDT", "buy", "40 BTC", "2024-01-20 10:00", "30h", "30h")
    order, _ = read_form(form, market.bars, None)
    found = run_order(market, order, "twap", [market.model], "none", 0.01)
    assert list(found.results) == ["twap"]
    (note,) = (note for note in found.notes if "is left out" in note)
    assert note.startswith(f"{market.model} is left out: max_periods is 30, but this policy's horizon is 24 periods")


def test_an_order_larger_than_the_market_is_said_to_be(market: AppMarket) -> None:
    for amount, target in (("4 million BTC", "units"), ("400 million USD", "money")):
        order, _ = read_form(OrderForm("BTCUSDT", "buy", amount, "2024-01-20 10:00", "6h"), market.bars, None)
        notes = run_order(market, order, "twap", [], "none", 0.01).notes
        assert any(note.startswith("The order is too large for these bars: twap trades ") for note in notes), target


def test_the_downloads_are_the_run(run: Run) -> None:
    report, orders, schedule = (Path(file).read_text(encoding="utf-8") for file in run.write())
    assert "One order says little" in report
    assert list(pd.read_csv(io.StringIO(orders))["policy"]) == list(run.results)
    traded = pd.read_csv(io.StringIO(schedule)).groupby("policy")["fraction"].sum()
    assert traded.to_dict() == pytest.approx(dict.fromkeys(run.results, 1.0))


def test_the_dials_move_the_points(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lem_models.app.dials.LIMITS", replace(LIMITS, orders=40))
    monkeypatch.setattr("lem_models.app.dials.DIAL", (0.05, 2.0))
    dials = Dials.of(run)
    assert set(dials.orders["side"]) == {"buy"}
    steps = list(dials.points(0.5, 0.01))
    assert [done for _, done, _ in steps] == [1, 2, 3, 4, 5]
    assert steps[0][0]["risk_aversion"].tolist() == [0.5]  # the chosen point comes first
    points = steps[-1][0]
    assert sorted(points.query("policy == @run.tested")["risk_aversion"]) == [0.05, 0.5, 2.0]
    dear = list(dials.points(0.5, 0.2))[-1][0].set_index(["policy", "risk_aversion"])
    cheap = points.set_index(["policy", "risk_aversion"])
    assert (dear["mean_bps"] < cheap["mean_bps"]).all()  # larger orders cost more
    again = list(dials.points(0.5, 0.01))[-1][0]
    pd.testing.assert_frame_equal(points, again)
