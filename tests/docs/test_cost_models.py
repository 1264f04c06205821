"""The table of named cost models is that of the package."""

from lem_models.execution.costs import COST_MODELS
from tests.docs.pages import ROOT


def test_every_cost_model_has_its_row():
    page = (ROOT / "docs" / "report.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    numbers = {
        name: (row.costs.half_spread_bps, row.costs.fee_bps, row.costs.impact) for name, row in COST_MODELS.items()
    }
    assert rows == [
        f"| `{name}` | {' | '.join(f'{number:g}' for number in numbers[name])} | {row.description} |"
        for name, row in COST_MODELS.items()
    ]
