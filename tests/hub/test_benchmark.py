"""A benchmark on the Hub: ``eval.yaml``, results of models and the table of all results have the same tasks."""

from __future__ import annotations

import pandas as pd
import pytest
import yaml
from huggingface_hub import DatasetCard, parse_eval_result_entries

from benchmarks.leaderboard import FILE, leaderboard, recorded, text_of
from lem_models import LEMModel
from lem_models.errors import UnknownNameError
from lem_models.hub.datasets.benchmark import EVAL_NAME, eval_file
from lem_models.hub.models.benchmark_tasks import benchmark_tasks
from lem_models.hub.models.registry import registry
from lem_models.hub.models.zoo import list_models
from tests.hub.datasets.market_data import LICENCE, NAME, market

MARKETS = list(registry().markets)
MODEL = "desk/lem-crypto-hourly"

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # the client's own


@pytest.mark.parametrize("name", MARKETS)
def test_the_file_has_what_the_hub_reads(name):
    content = yaml.safe_load(eval_file(name, "test"))
    assert content.keys() == {"name", "description", "tasks"}
    assert all(task.keys() == {"id", "config", "split"} and task["split"] == "test" for task in content["tasks"])
    ids = [task["id"] for task in content["tasks"]]
    assert ids == benchmark_tasks(name)
    assert len(ids) == len(set(ids)) > 2


def test_an_unknown_market_is_refused_before_anything_is_asked(hub):
    with pytest.raises(UnknownNameError, match="crypto-hourly"):
        market().push_to_hub(NAME, licence=LICENCE, token=hub.token, benchmark="crypto-hourl")
    assert hub.requests == []


def test_a_data_set_becomes_a_benchmark_and_the_results_of_a_model_name_its_tasks(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", hub.token)
    market().push_to_hub(NAME, split="test", licence=LICENCE, benchmark="crypto-hourly")
    files = hub.repository(NAME, "datasets").at("main").files
    assert files[EVAL_NAME] == eval_file("crypto-hourly", "test")
    assert DatasetCard(files["README.md"].decode()).data.configs[0]["config_name"] == "default"
    LEMModel.from_pretrained("lem-crypto-hourly").push_to_hub(MODEL, eval_data={"crypto-hourly": NAME})
    sent = hub.repository(MODEL).at("main").files[".eval_results/crypto-hourly.yaml"]
    entries = parse_eval_result_entries(yaml.safe_load(sent))
    tasks = {task["id"] for task in yaml.safe_load(files[EVAL_NAME])["tasks"]}
    assert entries
    assert {entry.task_id for entry in entries} <= tasks
    assert {entry.dataset_id for entry in entries} == {NAME}


def test_bars_without_a_benchmark_have_no_such_file(hub):
    market().push_to_hub(NAME, licence=LICENCE, token=hub.token)
    assert EVAL_NAME not in hub.repository(NAME, "datasets").at("main").files


# --- the table of all results ----------------------------------------------------------------------------------------


def test_the_table_is_that_of_the_records():
    assert FILE.read_text(encoding="utf-8") == text_of(leaderboard(recorded())), "run: python benchmarks/leaderboard.py"


def test_each_task_ranks_every_policy_the_best_first_and_models_have_the_recorded_numbers():
    table = pd.read_csv(FILE)
    for (name, task), rows in table.groupby(["market", "task"], sort=False):
        assert task in benchmark_tasks(name)
        assert rows["policy"].is_unique
        values = rows["value"] if not rows["higher_is_better"].iloc[0] else -rows["value"]
        assert values.is_monotonic_increasing
    headline = list_models()[list_models().index("lem-dow-daily")].headline
    row = table[(table["policy"] == "lem-dow-daily") & (table["min_periods"] == headline.min_periods)].iloc[0]
    assert row["value"] == headline.mean_vol
    assert set(table["market"]) == set(MARKETS)
