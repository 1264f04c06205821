"""Whatever standard output and standard error are, ``lem`` speaks, falls silent, and never shows a traceback."""

import io
import os
import subprocess
import sys

import pytest

from lem_models import synthetic_bars
from lem_models.cli.app import main
from lem_models.cli.terminal import make_console, printable, standard_streams

ENCODINGS = ["ascii", "cp1252", "latin-1", "cp437", "utf-8"]
SMALL = [
    "--baselines",
    "volume_curve",
    "--placebos",
    "stopping_rule",
    "--null",
    "1",
    "--limit",
    "200",
    "--max-periods",
    "4",
    "--every",
    "24h",
]
LEM = [sys.executable, "-m", "lem_models.cli"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A market whose symbols, and whose file's name, are not of ASCII."""
    folder = tmp_path_factory.mktemp("größe")
    bars = synthetic_bars(symbols=2, days=20, seed=4)
    frame = bars.frame
    frame["symbol"] = frame["symbol"].astype(str).replace({"S000": "KÖ", "S001": "日本"})
    type(bars).from_frame(frame).write(folder / "börse.parquet")
    return folder


def _lem(monkeypatch, encoding, *arguments):
    """Exit code and what was written, of a process whose streams are strict in an encoding."""
    streams = [io.TextIOWrapper(io.BytesIO(), encoding, errors="strict") for _ in range(2)]
    monkeypatch.setattr(sys, "argv", ["lem", *map(str, arguments)])
    monkeypatch.setattr(sys, "stdout", streams[0])
    monkeypatch.setattr(sys, "stderr", streams[1])
    with pytest.raises(SystemExit) as stop:
        main()
    for stream in streams:
        stream.flush()
    return stop.value.code, *(stream.buffer.getvalue().decode(encoding) for stream in streams)


@pytest.mark.usefixtures("quick_pictures")
@pytest.mark.parametrize("encoding", [ENCODINGS[0], pytest.param(ENCODINGS[1], marks=pytest.mark.slow)])
def test_every_command_prints_in_every_encoding(monkeypatch, folder, tmp_path, encoding):
    data = folder / "börse.parquet"
    orders = tmp_path / "orders.csv"
    orders.write_text("symbol,start,side,max_periods\nKÖ,2024-01-15T00:00Z,buy,6\n", encoding="utf-8")
    shown = {
        name: _lem(monkeypatch, encoding, *arguments)
        for name, arguments in {
            "list": ["list"],
            "json": ["list", "--json"],
            "help": ["--help"],
            "execute": ["execute", "--data", data, "--orders", orders, "--policy", "twap", "--out", tmp_path / "größe"],
            "data convert": ["data", "convert", data, tmp_path / "größe.csv"],
            "check-leak": ["check-leak", "twap", data, "--checks", "1"],
            "benchmark": ["benchmark", "--data", data, "--model", "twap", *SMALL, "--out", tmp_path / "bericht"],
        }.items()
    }
    assert {name: code for name, (code, *_) in shown.items()} == dict.fromkeys(shown, 0), shown
    assert printable("×", encoding) in shown["list"][1]
    if encoding == "ascii":
        assert "×" not in shown["list"][1]
        assert "gr\\xf6\\xdfe" in shown["execute"][1]
    # Files are UTF-8, whatever the terminal is.
    assert "KÖ" in (tmp_path / "größe" / "orders.csv").read_text(encoding="utf-8")
    assert "日本" in (tmp_path / "größe.csv").read_text(encoding="utf-8")
    assert "日本" in (tmp_path / "bericht" / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_errors_are_printed_in_every_encoding(monkeypatch, folder, encoding):
    code, _, error = _lem(monkeypatch, encoding, "check-leak", "twäp \u2192 \udc80", folder / "börse.parquet")
    assert code == 2
    assert error.startswith("error: unknown policy")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "encoding", "expected"),
    [
        ("0.31 ± 0.02 × 2", "cp1252", "0.31 ± 0.02 × 2"),
        ("0.31 ± 0.02 × 2 − 1 → …", "ascii", "0.31 +/- 0.02 x 2 - 1 -> ..."),
        ("a − b", "cp1252", "a - b"),
        ("█▏┏━┓│ ⠋", "ascii", "#|+-+| #"),
        ("KÖ 日", "ascii", "K\\xd6 \\u65e5"),
        ("\udc80", "utf-8", "\\udc80"),
    ],
)
def test_what_an_encoding_lacks_gets_a_likeness_or_an_escape(text, encoding, expected):
    assert printable(text, encoding) == expected


def test_tables_are_laid_out_with_the_characters_that_are_printed(monkeypatch):
    from rich.table import Table

    stream = io.TextIOWrapper(io.BytesIO(), "ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    table = Table("a", "b")
    table.add_row("1 ± 2", "x")
    table.add_row("1", "y")
    with standard_streams():
        make_console().print(table)
    stream.flush()
    lines = stream.buffer.getvalue().decode("ascii").splitlines()
    assert len({len(line) for line in lines}) == 1
    assert "1 +/- 2" in lines[3]


# --- closed streams: real processes ----------------------------------------------------------------------------------


def _run(arguments, **streams):
    return subprocess.run([*LEM, *arguments], check=False, text=True, **streams)


def _closed_pipe():
    """The writing end of a pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    return writing


@pytest.mark.parametrize("arguments", [["list"], ["list", "--json"], ["--help"], ["--version"]], ids=" ".join)
def test_a_reader_that_goes_away_ends_the_command_quietly(arguments):
    writing = _closed_pipe()
    done = _run(arguments, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


def test_an_error_that_nobody_reads_is_still_an_error():
    writing = _closed_pipe()
    done = _run(["data", "convert", "nothing.parquet", "bars.csv"], stderr=writing, stdout=subprocess.PIPE)
    os.close(writing)
    assert (done.returncode, done.stdout) == (2, "")


@pytest.mark.parametrize(
    ("command", "closing"),
    [("list", ">&-"), ("--help", "2>&-"), ("--help", ">&- 2>&-"), ("list", "<&- >&- 2>&-")],
)
def test_closed_streams_are_no_error(command, closing):
    done = subprocess.run(["sh", "-c", f'"$0" -m lem_models.cli {command} {closing}', sys.executable], check=False)
    assert done.returncode == 0


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device that is always full")
def test_an_output_that_cannot_be_written_is_said_in_a_line():
    with open("/dev/full", "w") as full:
        done = _run(["list"], stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 2
    assert done.stderr == "error: [Errno 28] No space left on device: 'standard output'\n"


def test_no_colours_go_into_a_pipe_or_where_they_are_not_wanted():
    piped = _run(["list"], stdout=subprocess.PIPE)
    assert "\x1b" not in piped.stdout
