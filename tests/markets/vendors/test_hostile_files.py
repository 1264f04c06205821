"""Files of strangers: bombs and damaged files are refused with a typed error, and nothing is guessed."""

import gzip
import io
import random
import warnings
import zipfile

import pytest

from lem_models.errors import BarsError, LEMError
from lem_models.markets.bars import Bars
from lem_models.markets.vendors.files import files_of
from tests.markets.vendors.test_presets import CASES, KLINE

NAME = "BTCUSDT-1h-2024-05"


def archive(path, **members: bytes) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name.replace("_csv", ".csv"), content)


def test_a_zip_bomb_is_refused_while_it_is_read(tmp_path):
    archive(tmp_path / f"{NAME}.zip", bars_csv=KLINE.encode() + b"\n" * (300 << 20))
    assert (tmp_path / f"{NAME}.zip").stat().st_size < 1 << 20
    with pytest.raises(BarsError, match="would expand to more than 268,435,456 bytes"):
        Bars.read(tmp_path / f"{NAME}.zip", symbol="A")


@pytest.mark.parametrize("suffix", ["txt.gz", "json.gz"])
def test_a_gzip_bomb_is_refused(tmp_path, suffix):
    content = io.BytesIO()
    with gzip.GzipFile(fileobj=content, mode="wb") as file:
        file.write(f"{KLINE}\n".encode())
        for _ in range(300):
            file.write(b"\n" * (1 << 20))
    (tmp_path / f"bars.{suffix}").write_bytes(content.getvalue())
    with pytest.raises(BarsError, match="more than 268,435,456 bytes"):
        Bars.read(tmp_path / f"bars.{suffix}", symbol="A")


def test_an_archive_holds_one_table(tmp_path):
    row = f"{KLINE}\n".encode()
    archive(tmp_path / "two.zip", a_csv=row, b_csv=row)
    with pytest.raises(BarsError, match="it holds 2 files; an archive of one CSV is read"):
        Bars.read(tmp_path / "two.zip")
    archive(tmp_path / "other.zip", **{"bars.parquet": row})
    with pytest.raises(BarsError, match=r"it holds bars.parquet; an archive of one CSV is read"):
        Bars.read(tmp_path / "other.zip")
    (tmp_path / "no.zip").write_bytes(row)
    with pytest.raises(BarsError, match="cannot be read as zip"):
        Bars.read(tmp_path / "no.zip")


JSON = {
    "deep": ("[" * 100_000 + "]" * 100_000, "nested more than 32 deep"),
    "a key twice": ('[{"t": 1, "t": 2}]', "a key occurs twice"),
    "a long number": (f"[[{'9' * 1000}, 1, 1, 1, 1, 1]]", "a number has 1,000 digits"),
    "infinity": ("[[1714521600000, Infinity, 1, 1, 1, 1]]", "not finite"),
    "rows of several lengths": ("[[1, 2], [1, 2, 3]]", "neither records nor lists of one length"),
    "no rows": ("[]", "the rows of a table are expected"),
    "a number": ("5", "the rows of a table are expected"),
    "lists in cells": ('[{"t": [1], "o": 1}]', "numbers, texts and times are read"),
    "many columns": (f"[{{{','.join(f'{chr(34)}c{i}{chr(34)}: 1' for i in range(2000))}}}]", "more than 1,024 columns"),
    "a time beyond 64 bits": ("[[99999999999999999999, 1, 1, 1, 1, 1]]", "whole number of 64 bits"),
}


@pytest.mark.parametrize(("text", "reason"), JSON.values(), ids=JSON)
def test_json_of_a_stranger(tmp_path, text, reason):
    (tmp_path / "bars.json").write_text(text)
    with pytest.raises(BarsError, match=reason):
        Bars.read(tmp_path / "bars.json", "ccxt" if text.startswith("[[") and "Inf" not in text else None, symbol="A")


def test_an_endless_line_is_refused(tmp_path):
    (tmp_path / "bars.txt").write_bytes(b"1714521600000," + b"1" * (1 << 20))
    with pytest.raises(BarsError, match="first lines has more than 262,144 bytes"):
        Bars.read(tmp_path / "bars.txt")


def test_names_of_files():
    with pytest.raises(BarsError, match="no files are named"):
        files_of([])
    with pytest.raises(BarsError, match=r"bars.xlsx is neither an .arrow.*nor one of .txt"):
        Bars.read("bars.xlsx")
    with pytest.raises(BarsError, match="there is no file nothing"):
        Bars.read("nothing.zip")


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_damaged_files_give_a_typed_error_or_bars(tmp_path, case):
    if case.name.endswith(".gz"):
        pytest.skip("packed; the damage is tested unpacked")
    whole, draw = case.text.encode(), random.Random(case.text)
    messages = []
    for _ in range(25):
        damaged = bytearray(whole)
        for _ in range(draw.randint(1, 3)):
            damaged[draw.randrange(len(damaged))] = draw.choice(b"0159,;:.-eETZ \n\"'{}[]\x00\xff$<>")
        if draw.random() < 0.3:
            damaged = damaged[: draw.randrange(1, len(damaged))]
        (tmp_path / case.name).write_bytes(bytes(damaged))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                Bars.read(tmp_path / case.name, **{"repair": "all"} | case.options)
            except LEMError as error:
                messages.append(str(error))
    assert len(messages) > 2
    assert all(message.isprintable() for message in messages)
