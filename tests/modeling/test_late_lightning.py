"""Lightning is imported by whoever needs it: a fresh process decides without it, and its trainer takes our models."""

import copy
import pickle
import subprocess
import sys
from pathlib import Path

import lightning as L
import pytest
import torch

from lem_models import LEMModel
from lem_models.modeling.late_lightning import LateLightningModule

REPOSITORY = Path(__file__).resolve().parents[2]
HEAVY = (
    *("lightning", "torchmetrics", "torch._dynamo", "torch._inductor", "sympy", "scipy", "matplotlib", "statsmodels"),
    *("rich", "jinja2", "huggingface_hub", "datasets", "transformers", "exchange_calendars", "arch", "yaml"),
)

DECISION = """
import sys
from lem_models import LEMModel, Order, execute, synthetic_bars
bars = synthetic_bars(symbols=("BTCUSDT",), days=20, start="2023-01-01", seed=0)
model = LEMModel.from_pretrained("lem-crypto-hourly")
"""
ORDER = "Order(symbol='BTCUSDT', start='2023-01-{}T00:00Z', side='buy', min_periods=1, max_periods=12)"
SESSION = f"assert 0 < model.session({ORDER.format(21)}, history=bars).decide().fraction <= 1\n"
EXECUTE = f"assert len(execute(model, bars, {ORDER.format(15)}).orders) == 1\n"

TRAINING = """
class Batches(torch.utils.data.Dataset):
    def __len__(self):
        return 2
    def __getitem__(self, index):
        return torch.tensor(float(index))

class Trained(LEMModel):
    def training_step(self, batch, batch_idx):
        self.log("loss", batch.mean())
        return sum((weight**2).sum() for weight in self.parameters())
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1e-3)

def fit(model):
    quiet = {f"enable_{name}": False for name in ("progress_bar", "model_summary", "checkpointing")}
    trainer = lightning.Trainer(max_epochs=1, accelerator="cpu", logger=False, **quiet)
    trainer.fit(model, torch.utils.data.DataLoader(Batches()))
    assert trainer.global_step == 2 and model.is_trained and "loss" in trainer.callback_metrics
"""


def run(code: str) -> str:
    """Standard output of a fresh interpreter."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("decide", [SESSION, EXECUTE])
def test_the_first_decision_imports_nothing_heavy(decide: str) -> None:
    loaded = run(f"{DECISION}{decide}print(*sys.modules)").split()
    assert "lem_models.modeling.model" in loaded
    assert set(HEAVY) & set(loaded) == set()


def test_the_trainer_takes_a_model_and_lightning_is_the_same_whatever_was_imported_first() -> None:
    modules = {
        first: run(
            f"import sys, torch, {first}\nfrom lem_models import LEMModel\nimport lightning\n"
            "print(*sorted(name for name in sys.modules if name.startswith('lightning')))\n"
            f"{TRAINING}model = Trained()\nassert isinstance(model, lightning.LightningModule)\nfit(model)"
        )
        for first in ("lem_models.modeling.model", "lightning")
    }
    assert modules["lem_models.modeling.model"] == modules["lightning"]


def test_a_model_that_was_there_before_lightning_is_trained() -> None:
    run(
        f"import sys, torch\nfrom lem_models import LEMModel\n{TRAINING}model = Trained().double()\n"
        "assert 'lightning' not in sys.modules\nimport lightning, lightning.pytorch\n"
        "assert isinstance(model, lightning.LightningModule)\n"
        "assert model.dtype == torch.float64 and model.device.type == 'cpu'\nfit(model)"
    )


def test_a_method_of_lightning_imports_it() -> None:
    run(
        "import sys\nfrom lem_models import LEMModel\nmodel = LEMModel()\nassert not hasattr(model, '_private')\n"
        "assert 'lightning' not in sys.modules\nmodel.freeze()\nassert 'lightning' in sys.modules\n"
        "assert not any(weight.requires_grad for weight in model.parameters())"
    )


def test_a_model_is_a_lightning_module() -> None:
    assert issubclass(LEMModel, L.LightningModule)
    assert LateLightningModule.__bases__ == (L.LightningModule,)
    model = LEMModel()
    for each in (model, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert (each.dtype, each.automatic_optimization, each.global_step) == (torch.float32, True, 0)


def test_a_model_that_lightning_has_known_can_be_sent_to_a_process_without_it(tmp_path: Path) -> None:
    stored = tmp_path / "model.pickle"
    stored.write_bytes(pickle.dumps(LEMModel()))
    run(
        "import pickle, sys\nfrom pathlib import Path\nimport lem_models.modeling.model\n"
        f"model = pickle.loads(Path({str(stored)!r}).read_bytes())\nassert 'lightning' not in sys.modules\n"
        "model.freeze()\nassert model.global_step == 0"
    )


def test_what_nobody_has_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'frieze'"):
        LEMModel().frieze  # noqa: B018
