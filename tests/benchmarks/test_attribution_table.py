"""The tables of attribution are those of the record, and a record without attribution is refused."""

import copy
import json

import pytest

from benchmarks.attribution_table import attribution_table
from lem_models.errors import ConfigError
from tests.benchmarks.script import FOLDER

RECORDS = sorted((FOLDER / "results").glob("attribution-*.json"))


def test_there_is_a_record():
    assert RECORDS


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_every_number_is_that_of_the_record(path):
    record = json.loads(path.read_text(encoding="utf-8"))
    text = attribution_table(record)
    run = record["runs"][0]
    policies = {row["policy"] for row in run["null"]}
    assert {"twap", "stopping_rule", "longstaff_schwartz", "longstaff_schwartz, matched", record["model"]} <= policies
    for row in run["null"] + run["information"]:
        value = "information" if "information_vol" in row else "above"
        if row["assets"] == "all":
            shown = f"{row[f'{value}_vol']:.3f} [{row[f'{value}_low_vol']:.3f}, {row[f'{value}_high_vol']:.3f}]"
            assert shown.replace("-", "−") in text
    for row in run["placebos"]:
        if row["assets"] == "all":
            assert f"| {row['placebo']} |" in text
            assert f"{row['mean_vol']:.3f} [{row['low_vol']:.3f}, {row['high_vol']:.3f}]".replace("-", "−") in text


def test_a_record_without_attribution_is_refused():
    record = copy.deepcopy(json.loads(RECORDS[0].read_text(encoding="utf-8")))
    del record["runs"][0]["information"]
    with pytest.raises(ConfigError, match="has no attribution; run it again: python benchmarks/zoo"):
        attribution_table(record)
