"""The README is short, and its tables are in step with the package and the recorded results."""

import json
import re

from typer.testing import CliRunner

from lem_models.cli.app import app
from tests.docs.pages import ROOT
from tests.test_structure import ROOMS

README = (ROOT / "README.md").read_text(encoding="utf-8")
MODELS = {model["name"]: model for model in json.loads(CliRunner().invoke(app, ["list", "--json"]).stdout)["models"]}


def test_the_readme_is_short():
    assert len(README.encode()) <= 8192


def test_the_map_names_every_room_in_the_order_of_imports():
    plan = (ROOT / "docs/how-it-works.md").read_text("utf-8").split("\n## Rooms\n")[1].split("```")[1]
    assert [line.split()[0] for line in plan.strip().splitlines()] == [room for room in ROOMS if room]


def test_the_table_of_the_zoo_has_the_numbers_of_lem_list():
    rows = re.findall(r"^\| `(lem-[\w-]+)` \|(.+)\|$", README, re.MULTILINE)
    found: dict[str, list[list[str]]] = {name: [] for name in MODELS}
    for name, cells in rows:
        found[name].append([cell.strip() for cell in cells.replace("−", "-").split("|")])
    for name, model in MODELS.items():
        assert len(found[name]) == len(model["headlines"])
        for (_, own, full, arrival, difference, errors), headline in zip(found[name], model["headlines"], strict=True):
            prices = {each["against"]: each for each in headline["prices"]}
            for cell, price in ((own, "own"), (full, "full_vwap"), (arrival, "arrival")):
                gross, net = (part.split(" [")[0] for part in cell.split(" → "))
                assert (gross, net) == tuple(f"{prices[price][kind]:+.1f}" for kind in ("gross", "net"))
            assert difference.startswith(f"{prices['full_vwap']['difference']:+.1f} [")
            assert errors == f"{headline['tracking']:.2f}, {headline['median_tracking']:.2f}"


def test_what_the_readme_says_of_twap_holds_for_every_model_and_market():
    """At 1 % of the volume no model is ahead of TWAP, net against the full-horizon VWAP."""
    for model in MODELS.values():
        for headline in model["headlines"]:
            (full,) = [each for each in headline["prices"] if each["against"] == "full_vwap"]
            assert full["difference_low"] < 0
