"""The README is short, and its tables are in step with the package and the recorded results."""

import json
import re

from typer.testing import CliRunner

from lem_models.cli.app import app
from tests.docs.pages import ROOT
from tests.test_structure import ROOMS

README = (ROOT / "README.md").read_text(encoding="utf-8")
MODELS = {model["name"]: model for model in json.loads(CliRunner().invoke(app, ["list", "--json"]).stdout)}


def rows_of_the_zoo():
    rows = re.findall(r"^\| `(lem-[\w-]+)` \|(.+)\|$", README, re.MULTILINE)
    return {name: [cell.strip() for cell in cells.split("|")] for name, cells in rows}


def test_the_readme_is_short():
    assert len(README.encode()) <= 8192


def test_the_map_names_every_room_in_the_order_of_imports():
    plan = README.split("\n## Rooms\n")[1].split("```")[1]
    assert [line.split()[0] for line in plan.strip().splitlines()] == [room for room in ROOMS if room]


def test_the_table_of_the_zoo_is_that_of_lem_list():
    rows = rows_of_the_zoo()
    assert rows.keys() == MODELS.keys()
    for name, (trades, longest, improvement, tracking) in rows.items():
        model, headlines = MODELS[name], MODELS[name]["headlines"]
        assert longest == str(model["horizon"])
        assert {(h["min_periods"], h["max_periods"]) for h in headlines} == {(1, 12)}
        if len(headlines) == 1:
            headline = headlines[0]
            assert trades == f"{model['market']}, {model['frequency']} bars"
            interval = f"[{headline['low_vol']:.3f}, {headline['high_vol']:.3f}]"
            assert improvement == f"{headline['mean_vol']:.3f} {interval}"
        else:
            assert improvement == ", ".join(f"{h['mean_vol']:.3f}" for h in headlines)
        assert tracking == ", ".join(f"{h['tracking']:.2f}" for h in headlines)


def test_what_is_above_the_null_is_that_of_the_specialists_records():
    values = []
    for name in list(rows_of_the_zoo())[:4]:
        metrics = json.loads((ROOT / "lem_models" / "pretrained" / name / "metrics.json").read_text(encoding="utf-8"))
        row = metrics["evaluations"][0]["runs"][0]["rows"][0]
        assert row["min_periods"] == 1
        values.append(f"{row['above_vol']:.3f}")
    assert f"above it are {', '.join(values[:3])} and {values[3]}" in README
