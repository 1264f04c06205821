"""``lem fit-convex``: from bars to a folder that is a policy."""

import re

import pytest
from typer.testing import CliRunner

from lem_models import Bars, load_policy, synthetic_bars
from lem_models.baselines import ConvexPolicy
from lem_models.cli.app import app

runner = CliRunner()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("bars") / "bars.parquet"
    synthetic_bars(symbols=2, days=150, seed=4).write(path)
    return path


def _fit(data, out, *more):
    arguments = ["fit-convex", "--data", str(data), "--out", str(out), "--horizon", "6", "--orders", "3000", *more]
    return runner.invoke(app, arguments)


def test_it_prints_a_table_and_writes_a_folder_that_commands_take(data, tmp_path):
    bars = Bars.read(data)
    result = _fit(data, tmp_path / "mine")
    assert result.exit_code == 0, result.output
    rows = re.findall(r"(\d+)\s+([\d.]+)\s+(constant curve|convex)\s+([\d,]+)\s+([\d.]+)", result.output)
    assert [(row[0], row[2]) for row in rows] == [
        ("3", "constant curve"),
        ("3", "convex"),
        ("6", "constant curve"),
        ("6", "convex"),
    ]
    assert all(0.2 < float(row[4]) < 2 for row in rows)
    policy = load_policy(str(tmp_path / "mine"))
    assert isinstance(policy, ConvexPolicy)
    assert [table.periods for table in policy.coefficients.tables] == [3, 6]
    assert policy.coefficients.huber == 0.7
    days = bars.frame["timestamp"].dt.strftime("%Y-%m-%d").unique()
    assert (policy.coefficients.train_end, policy.coefficients.validation_end) == (days[90], days[120])  # of 150
    done = runner.invoke(app, ["check-leak", str(tmp_path / "mine"), str(data), "--checks", "2"])
    assert done.exit_code == 0, done.output


def test_the_borders_and_the_symbols_held_out_are_obeyed(data, tmp_path):
    bars = Bars.read(data)
    days = bars.frame["timestamp"].dt.strftime("%Y-%m-%d").unique()
    borders = ("--train-end", days[90], "--validation-end", days[130], "--held-out", bars.symbols[0], "--huber", "2")
    assert _fit(data, tmp_path / "some", *borders).exit_code == 0
    # The other symbol and later bars are not read: without them the fit is the same.
    bars.select([bars.symbols[1]]).between(end=days[130]).write(tmp_path / "less.parquet")
    assert _fit(tmp_path / "less.parquet", tmp_path / "less", *borders[:4], "--huber", "2").exit_code == 0
    some, less = (load_policy(str(tmp_path / name)).coefficients for name in ("some", "less"))
    assert some == less
    assert (some.train_end, some.validation_end, some.huber) == (days[90], days[130], 2.0)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--held-out", "NOPE"), "names NOPE, of which the bars have none"),
        (("--huber", "-1"), "huber must be positive"),
        (("--train-end", "2024-01-10"), "a fit needs 500"),
    ],
)
def test_what_cannot_be_fitted_is_refused_and_writes_nothing(data, tmp_path, more, message):
    result = _fit(data, tmp_path / "mine", *more)
    assert result.exit_code != 0
    assert message in str(result.exception)
    assert not (tmp_path / "mine").exists()
