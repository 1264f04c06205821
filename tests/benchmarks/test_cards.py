"""Model cards say what the records say: numbers, tests passed and failed, and what is missing."""

import copy
import dataclasses
import functools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from huggingface_hub import ModelCard

from benchmarks.cards.card import card_metadata, metrics_of, metrics_text, render_card
from benchmarks.cards.findings import dominance, findings
from benchmarks.cards.make import MadeFiles, sources_of, stale
from benchmarks.frontier import frontier
from benchmarks.looks import UNDATED, append
from benchmarks.records import MarketRecord, RecordedRun, plain, read_market_record
from benchmarks.zoo import evaluate
from lem_models import LEMModel, Order, execute, load_policy, synthetic_bars
from lem_models.errors import ConfigError, UnknownNameError
from lem_models.evaluation.benchmark import BenchmarkSettings
from lem_models.execution.costs import cost_model
from lem_models.execution.result import with_ends
from lem_models.guard.output import to_json
from lem_models.hub.models.registry import weights_hash, zoo_source
from lem_models.hub.models.zoo import ZooModel
from lem_models.statistics.seeds import across_seeds
from tests.helpers import random_model, tiny_config
from tests.regressions import few_paths

NAME = ZooModel("lem-crypto-hourly")
BARS = synthetic_bars(symbols=4, days=28, seed=7)
RIVALS = ("twap", "stopping_rule")
COSTS = cost_model("crypto").at(0.01)
MODELS = [str(NAME), "lem-base"]


@functools.lru_cache
def model():
    return LEMModel.from_pretrained(NAME)


@functools.lru_cache
def _measured():
    """Two models and two rivals on a simulated market, measured as the real ones are."""
    policies = {
        str(NAME): model(),
        "lem-base": random_model(tiny_config(horizon=12)),
        **{name: load_policy(name) for name in RIVALS},
    }
    settings = BenchmarkSettings(
        every=5, min_periods=(1, 6, 12), max_periods=12, null=2, bootstrap=100, costs=COSTS, sizes=(0.0, 0.01)
    )
    with pytest.MonkeyPatch.context() as patch:
        few_paths(patch)
        return plain(evaluate(policies, MODELS, BARS, settings, ["S003"]))


@pytest.fixture
def record():
    return {
        "command": "python benchmarks/zoo.py --market crypto-hourly --data FOLDER",
        "market": "crypto-hourly",
        "model": str(NAME),
        "base": "lem-base",
        "data": {"content_hash": BARS.content_hash, "symbols": list(BARS.symbols), "bars": len(BARS)},
        "period": {"start": "2024-01-01T00:00:00+00:00", "end": "2024-01-29T00:00:00+00:00"},
        "unseen_assets": ["S003"],
        "split": "test",
        "reduced": False,
        "cost_model": {"name": "crypto", **cost_model("crypto").model_dump(mode="json")},
        "weights": {str(NAME): weights_hash(NAME.folder)},
        "runs": [copy.deepcopy(_measured())],
    }


def card_of(record, **sources):
    given = {"records": [MarketRecord(record, "crypto-hourly.json")], "dials": [], **sources}
    sources = dataclasses.replace(sources_of(NAME), **given)
    return render_card(sources, model())


def rows(record, table, **keys):
    found = [row for row in record["runs"][0][table] if all(row[key] == value for key, value in keys.items())]
    assert found, (table, keys)
    return found


def change(record, table, keys, **values):
    for row in rows(record, table, **keys):
        row.update(values)


def sentences(record, name=str(NAME)):
    return " ".join(findings(RecordedRun(record["runs"][0]), name, MODELS, "hour"))


# --- numbers ---------------------------------------------------------------------------------------------------------


def test_every_number_of_the_model_is_on_the_card(record):
    card = card_of(record)
    for row in rows(record, "comparison", policy=NAME, assets="all"):
        shown = f"**{row['mean_vol']:.3f}** [{row['low_vol']:.3f}, {row['high_vol']:.3f}]"
        shown = f"| {row['min_periods']} | {row['orders']:,} | {shown}"
        assert shown.replace("-", "−") in card
    for row in rows(record, "comparison", assets="all"):
        assert f"{row['mean_vol']:.3f} ± {row['std_vol']:.3f}".replace("-", "−") in card
    for row in rows(record, "differences", model=NAME, assets="all"):
        assert f"{row['mean_vol']:+.3f} [{row['low_vol']:+.3f}, {row['high_vol']:+.3f}]".replace("-", "−") in card
    for row in rows(record, "null", policy=NAME, assets="all"):
        assert f"{row['above_vol']:.3f} [{row['above_low_vol']:.3f}".replace("-", "−") in card
    for row in rows(record, "information", policy=NAME, assets="all"):
        assert f"{row['information_vol']:.3f} [{row['information_low_vol']:.3f}".replace("-", "−") in card
        assert f"{row['beyond_control_vol']:.3f} [{row['beyond_control_low_vol']:.3f}".replace("-", "−") in card
    for row in rows(record, "capacity", policy=NAME, size=0.01):
        gross = f"{row['gross_bps']:+.1f} [{row['gross_low_bps']:+.1f}, {row['gross_high_bps']:+.1f}]"
        net = f"{row['net_bps']:+.1f} [{row['low_bps']:+.1f}, {row['high_bps']:+.1f}]"
        assert f"{gross} → {net}".replace("-", "−") in card
    placebos = rows(record, "placebos", model=NAME, assets="all")
    assert {row["placebo"] for row in placebos} == {"longstaff_schwartz, matched", "stopping_rule"}
    for row in placebos:
        assert f"{row['std_vol']:.3f}, {row['placebo_std_vol']:.3f} | {row['mean_vol']:.3f}".replace("-", "−") in card
    for row in rows(record, "tracking", model=NAME, assets="unseen"):
        assert f"{row['std_ratio_vol']:.3f} [{row['low']:.3f}, {row['high']:.3f}]" in card
    for row in rows(record, "comparison", policy=NAME, assets="unseen"):
        assert f"{row['mean_vol']:.3f} [{row['low_vol']:.3f}, {row['high_vol']:.3f}]".replace("-", "−") in card


def test_another_number_makes_another_card_and_other_metrics(record):
    before, evaluation = card_of(record), MarketRecord(copy.deepcopy(record), "crypto-hourly.json")
    assert card_of(copy.deepcopy(record)) == before
    change(record, "comparison", {"policy": NAME, "assets": "all", "min_periods": 6}, mean_vol=0.123456)
    assert card_of(record) != before
    assert "0.123" in card_of(record)
    after = metrics_of(NAME, [MarketRecord(record, "crypto-hourly.json")])
    assert after["evaluations"][0]["runs"][0]["rows"][1]["mean_vol"] == 0.123456
    assert metrics_text(after) != metrics_text(metrics_of(NAME, [evaluation]))


def test_the_card_names_policies_assets_dates_and_commands(record):
    card = card_of(record)
    for text in (
        *RIVALS,
        "lem-base",
        "S003",
        "2024-01-01 to 2024-01-28",
        record["command"],
        "recipes/crypto_hourly.yaml",
    ):
        assert text in card
    for section in ("Intended use", "Out of scope", "Quick start", "Training data", "Results", "Limits and risks"):
        assert section in card
    for text in ("no investment advice", "No spread, no fees", "How to reproduce", "martingale null", "arxiv.org"):
        assert text.lower() in card.lower()
    assert "{{" not in card
    assert "None" not in card
    assert "nan" not in card.split()


def test_every_file_that_the_model_was_trained_on_has_a_source_and_a_licence(record):
    sources = sources_of(NAME)
    section = card_of(record).split("## Training data")[1].split("## Results")[0]
    files = {market.path.name for recipe in (sources.recipe, sources.start[1]) for market in recipe.data}
    assert "crypto_perp_30min.parquet" in files  # of no market
    for file in files:
        assert zoo_source(file).title in section
        assert zoo_source(file).source in section
        assert zoo_source(file).licence in section
    assert section.count(zoo_source("crypto_hourly.parquet").licence) == 1


def test_a_training_file_of_unknown_source_is_refused(record):
    recipe = sources_of(NAME).recipe
    market = recipe.data[0].model_copy(update={"path": Path("somewhere.parquet")})
    with pytest.raises(UnknownNameError, match=r"zoo\.yaml, section sources, .*somewhere\.parquet"):
        card_of(record, recipe=recipe.model_copy(update={"data": (market,)}))


def test_the_quick_start_runs(record, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    BARS.write("bars.parquet")
    code = card_of(record).split("```python\n")[1].split("```")[0]
    scope = {}
    exec(code, scope)
    assert len(scope["result"].orders) > 100


# --- claims ----------------------------------------------------------------------------------------------------------


def test_ahead_level_and_behind_follow_the_adjusted_p_value(record):
    keys = {"model": NAME, "policy": "twap", "assets": "all"}
    for minimum, p_value in ((1, 0.001), (6, 0.2)):
        values = {"mean_vol": 5.0, "p_value_vol": 1e-4, "p_holm_vol": p_value}
        change(record, "differences", keys | {"min_periods": minimum}, **values)
    assert "significantly ahead of `twap` at minimum 1 and not significantly different at minimum 6" in sentences(
        record
    )
    change(record, "differences", keys | {"min_periods": 6}, mean_vol=-5.0, p_holm_vol=0.001)
    assert "significantly ahead of `twap` at minimum 1 and significantly behind at minimum 6" in sentences(record)
    change(record, "differences", keys, mean_vol=-5.0, p_holm_vol=0.001)
    assert "significantly behind `twap` at every flexible minimum (1 and 6)" in sentences(record)
    change(record, "differences", keys, mean_vol=5.0, p_holm_vol=0.06)
    assert "not significantly different from `twap` at every flexible minimum" in sentences(record)
    # A star only where the test is passed.
    change(record, "differences", {"model": NAME, "assets": "all"}, p_holm_vol=0.9)
    assert "]\\*" not in card_of(record)
    change(record, "differences", keys, p_holm_vol=0.01)
    assert card_of(record).count("]\\*") == 3


def test_a_higher_standard_deviation_than_a_rival_s_is_sentences(record):
    change(record, "comparison", {"policy": NAME, "assets": "all"}, std_vol=0.5)
    for rival in RIVALS:
        change(record, "comparison", {"policy": rival, "assets": "all"}, std_vol=1.0)
    assert (
        "times theirs, nowhere above" in sentences(record).replace("the rival’s", "theirs").split("Fixed duration")[0]
    )
    assert "**above**" not in sentences(record).split("Fixed duration")[0]
    change(record, "comparison", {"policy": "stopping_rule", "assets": "all", "min_periods": 6}, std_vol=0.4)
    assert "**above** that of `stopping_rule` at minimum 6" in sentences(record)


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.7, 0.9, "significantly below that of `twap`"),
        (0.9, 1.1, "not significantly different from that of `twap`"),
        (1.1, 1.3, "significantly **above** that of `twap`"),
    ],
)
def test_tracking_is_claimed_when_the_interval_leaves_out_one(record, low, high, words):
    change(record, "tracking", {"model": NAME}, low=0.5, high=0.6)
    change(record, "tracking", {"model": NAME, "policy": "twap"}, std_ratio_vol=(low + high) / 2, low=low, high=high)
    assert words in sentences(record)
    assert f"{(low + high) / 2:.2f} [{low:.2f}, {high:.2f}] times TWAP's" in sentences(record)


def test_closer_is_claimed_by_all_measures_together(record):
    keys = {"policy": NAME, "against": "twap", "assets": "all"}
    change(record, "tracking_errors", keys, ratio=0.8, ratio_low=0.7, ratio_high=0.9)
    assert "tracks closer than twap: std 0.80" in sentences(record)
    change(record, "tracking_errors", keys | {"measure": "median_abs"}, ratio_high=1.1)
    assert "tracks neither closer nor less closely than twap" in sentences(record)
    assert "The worst orders rule a standard deviation. By all measures together: it" in sentences(record)


def test_it_is_said_where_twap_wins_net_of_costs(record):
    keys = {"policy": NAME, "size": 0.01, "against": "full_vwap", "min_periods": 1}
    for low, high, verdict in ((-3, -1, "**TWAP wins**"), (1, 3, "the model wins"), (-1, 1, "level")):
        values = {"difference_bps": (low + high) / 2, "difference_low_bps": low, "difference_high_bps": high}
        change(record, "capacity", keys, **values, net_bps=-9.0, low_bps=-11.0, high_bps=-7.0)
        change(record, "capacity", keys | {"policy": "twap"}, net_bps=-8.0)
        change(record, "capacity", keys | {"policy": "stopping_rule"}, net_bps=-10.0)
        text = f"−9.0 [−11.0, −7.0] bps; minus TWAP {(low + high) / 2:+.1f} [{low:+.1f}, {high:+.1f}]: {verdict}"
        assert text.replace("-", "−") in sentences(record)
        assert f"{verdict}. A higher net mean: `twap`." in sentences(record)


def test_a_reduced_run_is_marked(record):
    assert "**reduced** run" not in card_of(record)
    assert "**reduced** run" in card_of(record | {"reduced": True})
    assert metrics_of(NAME, [MarketRecord(record | {"reduced": True}, "r.json")])["evaluations"][0]["reduced"]


def test_an_estimated_vwap_is_said(record):
    assert "an **estimated** VWAP" not in card_of(record)
    estimated = record | {"data": record["data"] | {"estimated_share": 0.1234}}
    assert "Judged against an **estimated** VWAP: 12.3% of the bars have no measured notional." in card_of(estimated)
    measured = record | {"data": record["data"] | {"estimated_share": 0.0}}
    assert card_of(measured) == card_of(record)


def test_older_frontiers_are_judged_by_the_standard_of_today():
    """A mean above zero at a ratio below 1 was called a dominance; the end of the ratio's interval decides now."""
    row = {"model": "ours", "min_periods": 1, "policy": "twap", "mean_vol": 0.2, "low_vol": 0.1, "high_vol": 0.3}
    row |= {"p_value": 1e-6, "std_ratio_vol": 0.9, "std_ratio_low": 0.8, "dominates": True, "significant": True}
    points = [{"policy": "twap", "min_periods": 1}]
    found = [
        dominance({"models": ["ours"], "points": points, "dominance": [row | {"std_ratio_high": high}]}, "ours")
        for high in (0.99, 1.01)
    ]
    assert found[0] == ["Minimum 1, `twap`: at 1 of its 1 point the model is better at equal or lower risk."]
    assert "at 0 of its 1 point" in found[1][0]
    assert "at 1 more its mean is higher and its risk not shown to be equal or lower" in found[1][0]


def test_what_is_above_the_null_is_named_by_its_interval_and_is_no_claim_of_skill(record):
    keys = {"policy": NAME, "assets": "all"}
    for minimum, low, high in ((1, 0.01, 0.03), (6, -0.01, 0.03), (12, -0.03, -0.01)):
        change(record, "null", keys | {"min_periods": minimum}, above_low_vol=low, above_high_vol=high)
    text = sentences(record)
    assert "significantly above 0 at minimum 1," in text
    assert "not significantly different from 0 at minimum 6" in text
    assert "significantly **below** 0 at minimum 12" in text
    assert "Policies that forecast nothing earn some of it too." in text


def test_the_card_counts_the_looks_at_the_test_period(record, log):
    assert "0 looks in the log." in card_of(record)
    line = {"market": "crypto-hourly", "weights": {}, "command": "c", "orders": 1, "headline": "h"}
    for number, date in enumerate((UNDATED, "2026-11-29", "2026-11-30")):
        append({"id": str(number), "date": date, **line})
    append({"id": "elsewhere", "date": "2026-11-30", **line, "market": "dow-daily"})
    assert "3 looks in the log, 1 of them recorded before it began." in card_of(record)


def test_the_card_says_that_later_bars_are_those_of_one_length(record):
    text = card_of(record)
    assert '"Later bars" holds for each length of bars by itself: `lem-base`' in text
    assert "has seen bars of other markets up to 2025-11-01" in text


@pytest.mark.parametrize(
    ("unseen", "words"),
    [
        (0.95, "nowhere more than 10 % below it"),
        (0.8, "**more than 10 % below it** at every flexible minimum (1 and 6)"),
    ],
)
def test_assets_that_were_never_seen_are_compared_with_the_others(record, unseen, words):
    change(record, "comparison", {"policy": NAME, "assets": "seen"}, mean_vol=0.4, low_vol=0.3)
    change(record, "comparison", {"policy": NAME, "assets": "unseen"}, mean_vol=0.4 * unseen)
    assert words in sentences(record)
    assert f"{100 * unseen:.0f} % at minimum 1" in sentences(record)
    # A share of what may be nothing means nothing.
    change(record, "comparison", {"policy": NAME, "assets": "seen"}, low_vol=-0.01)
    assert "that it never saw" not in sentences(record)


def test_the_other_model_is_no_rival_but_stands_beside(record):
    for base in MODELS:
        for other in MODELS:
            if base != other:
                for row in rows(record, "differences", model=base, policy=other):
                    row.update(p_holm_vol=0.01, mean_vol=3.0 if base == NAME else -3.0)
    text = sentences(record)
    assert "Against `lem-base`, all assets:" in text
    assert "Against `lem-base`, assets that no model saw:" in text
    assert "`lem-base`, all assets: significantly ahead at every minimum (1, 6 and 12)" in text
    assert f"Against `{NAME}`, all assets: significantly behind at every minimum" in sentences(record, "lem-base")
    flexible = text.split("Fixed duration")[0]
    assert "lem-base" not in flexible


def test_a_period_that_is_no_test_is_marked(record):
    warning = "This is not the test period"
    assert warning not in card_of(record)
    assert warning in card_of(record | {"split": "validation"})
    assert "(validation)" not in card_of(record)


# --- what is missing -------------------------------------------------------------------------------------------------


def test_a_card_without_any_record_says_so():
    card = render_card(dataclasses.replace(sources_of(NAME), records=[]), model())
    assert "No results are recorded for this market." in card
    assert "is not recorded for this model" in card
    assert "model-index" not in card
    assert metrics_of(NAME, [])["evaluations"] == []


def test_a_run_without_null_tracking_and_unseen_assets_is_shown(record):
    run = record["runs"][0]
    run["null"], run["tracking"], run["information"], run["capacity"] = [], [], [], []
    for table in ("comparison", "differences"):
        run[table] = [row for row in run[table] if row["assets"] == "all"]
    record["unseen_assets"] = []
    card = card_of(record)
    assert "significantly" in card
    assert "null (option)" not in card
    assert "Assets that were withheld" not in card


def test_a_number_that_is_missing_is_a_dash(record):
    change(record, "comparison", {"policy": "twap", "min_periods": 1}, mean_vol=None)
    change(record, "tracking", {"model": NAME, "policy": "twap"}, low=None, high=None)
    change(record, "differences", {"model": NAME, "policy": "twap"}, p_holm_vol=None)
    assert "| twap | – ± " in card_of(record)


def test_results_of_other_weights_are_refused(record):
    record["weights"][str(NAME)] = "0" * 64
    with pytest.raises(ConfigError, match=r"other weights of lem-crypto-hourly.*python benchmarks/zoo\.py"):
        card_of(record)
    with pytest.raises(ConfigError, match="other weights"):
        metrics_of(NAME, [MarketRecord(record, "crypto-hourly.json")])


def test_a_frontier_of_other_weights_is_refused(tmp_path):
    record = {"models": [str(NAME)], "weights": {str(NAME): weights_hash(NAME.folder)}}
    record["command"] = "python benchmarks/frontier.py --model lem-crypto-hourly"
    path = to_json(record, tmp_path / "frontier-crypto-hourly.json")
    assert sources_of(NAME, tmp_path).dials == [(record, None)]
    to_json(record | {"weights": {str(NAME): "0" * 64}}, path)
    with pytest.raises(
        ConfigError, match=r"frontier-crypto-hourly\.json .* other weights .*python benchmarks/frontier\.py"
    ):
        sources_of(NAME, tmp_path)
    assert sources_of(ZooModel("lem-base"), tmp_path).dials == []


def test_what_is_not_on_disk_as_it_should_be_is_stale(tmp_path):
    paths = [tmp_path / name for name in ("same", "other", "missing")]
    paths[0].write_bytes(b"text")
    paths[1].write_bytes(b"older text")
    assert stale(MadeFiles(dict.fromkeys(paths, b"text"), ())) == paths[1:]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda record: record.pop("split"), "record.json lacks split"),
        (lambda record: record.update(runs=[]), "has no runs"),
        (lambda record: record["runs"][0].pop("tracking"), "record.json, run 0 lacks tracking"),
    ],
)
def test_a_damaged_record_is_refused(record, damage, message, tmp_path):
    assert read_market_record(to_json(record, tmp_path / "record.json")).content == record
    damage(record)
    with pytest.raises(ConfigError, match=message):
        read_market_record(to_json(record, tmp_path / "record.json"))
    (tmp_path / "record.json").write_text("{")
    with pytest.raises(ConfigError, match="cannot read the record"):
        read_market_record(tmp_path / "record.json")


# --- metadata, seeds, dial -------------------------------------------------------------------------------------------


def test_the_hub_reads_the_results_from_the_metadata(record):
    card = ModelCard(card_of(record))
    assert (card.data.license, card.data.library_name, card.data.model_name) == ("apache-2.0", "lem_models", NAME)
    found = {result.metric_name: result for result in card.data.eval_results}
    assert len(found) == 4 + 3 * 3 * 2
    (full,) = rows(record, "capacity", policy=NAME, min_periods=1, size=0.01, against="full_vwap")
    name = "Mean net improvement over the full-horizon VWAP, bps, minimum 1 of 12 periods, orders of 1 % of the volume"
    assert found[name].metric_value == full["net_bps"]
    for row in rows(record, "comparison", policy=NAME, assets="all"):
        (result,) = [
            r for name, r in found.items() if name.endswith(f"volatilities, minimum {row['min_periods']} of 12 periods")
        ]
        assert result.metric_value == row["mean_vol"]
        assert result.metric_args["low_vol"] == row["low_vol"]
        assert (result.dataset_type, result.dataset_split) == ("crypto-hourly", "test")
    (ratio,) = rows(record, "tracking", model=NAME, policy="twap", assets="all")
    assert ratio["std_ratio_vol"] in [result.metric_value for result in found.values()]
    metrics = metrics_of(NAME, [MarketRecord(record, "crypto-hourly.json")])
    assert card_metadata(NAME, metrics, sources_of(NAME).recipe) in str(card)


def test_the_spread_between_training_seeds_is_shown_when_it_was_measured(record):
    orders = Order.sample(BARS, every=11, min_periods=[1, 6], max_periods=6)
    runs = {f"run{seed}": execute(random_model(tiny_config(), seed), BARS, orders).orders for seed in range(3)}
    table = across_seeds({name: with_ends(run, BARS) for name, run in runs.items()}, ["min_periods"], draws=100)
    card = card_of(record, seeds={"models": list(runs), "tables": [{"against": None, "rows": plain(table)}]})
    assert "3 models of the same recipe" in card
    first = table.iloc[0]
    assert f"{first['mean_vol']:.3f} [{first['low_vol']:.3f}, {first['high_vol']:.3f}]".replace("-", "−") in card
    assert "is not recorded for this model" not in card


def test_the_risk_dial_is_shown_when_it_was_measured(record):
    orders = Order.sample(BARS, every=31, min_periods=1, max_periods=12)
    tables = frontier({str(NAME): model()}, BARS, orders, dial=(0.05, 2.0), rival_dial=(0.0, 0.4), bootstrap=100)
    head = {key: record[key] for key in ("market", "model", "period", "split", "command")}
    dial = plain({**head, "models": [str(NAME)], "max_periods": 12, "orders": len(orders), **tables})
    card = card_of(record, dials=[(dial, "dial.png")])
    assert "## Risk dial" in card
    assert "(dial.png)" in card
    for point in dial["points"]:
        if point["policy"] == NAME:
            assert f"{point['mean_vol']:.3f} [{point['low_vol']:.3f}".replace("-", "−") in card
    dominated = pd.DataFrame(dial["dominance"]).query("policy == 'longstaff_schwartz' and min_periods == 1")
    count = int(np.sum(dominated["dominates"]))
    assert f"Minimum 1, `longstaff_schwartz`: at {count} of its 2 points" in card
    assert "## Risk dial" not in card_of(record)
