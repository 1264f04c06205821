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


def run(code: str, given: bytes = b"") -> str:
    """Standard output of a fresh interpreter."""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, input=given, capture_output=True, cwd=REPOSITORY, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def test_the_first_decision_imports_nothing_heavy() -> None:
    shown = "print(*sys.modules)\n"
    for loaded in run(f"{DECISION}{SESSION}{shown}{EXECUTE}{shown}").splitlines():
        assert "lem_models.modeling.model" in loaded.split()
        assert set(HEAVY) & set(loaded.split()) == set()


# Importing lightning takes longer than all else: what one process can show, one process shows. In the first one a
# method imports it, of a model that has known it in another process.
THERE_BEFORE = f"""
import pickle, sys, torch
from lem_models import LEMModel
{TRAINING}
before = Trained().double()
sent = pickle.load(sys.stdin.buffer)
for model in (before, sent):
    assert not hasattr(model, "_private")
assert "lightning" not in sys.modules
sent.freeze()
assert "lightning" in sys.modules
assert not any(weight.requires_grad for weight in sent.parameters())
assert sent.global_step == 0
import lightning
print(*sorted(name for name in sys.modules if name.startswith("lightning")))
for model in (before, Trained()):
    assert isinstance(model, lightning.LightningModule)
    fit(model)
assert before.dtype == torch.float64 and before.device.type == "cpu"
"""
THERE_AFTER = f"""
import sys, torch, lightning
from lem_models import LEMModel
print(*sorted(name for name in sys.modules if name.startswith("lightning")))
{TRAINING}
fit(Trained())
"""


def test_the_trainer_takes_a_model_and_lightning_is_the_same_whatever_was_imported_first() -> None:
    assert run(THERE_BEFORE, pickle.dumps(LEMModel())) == run(THERE_AFTER)


def test_a_model_is_a_lightning_module() -> None:
    assert issubclass(LEMModel, L.LightningModule)
    assert LateLightningModule.__bases__ == (L.LightningModule,)
    model = LEMModel()
    for each in (model, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert (each.dtype, each.automatic_optimization, each.global_step) == (torch.float32, True, 0)


def test_what_nobody_has_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'frieze'"):
        LEMModel().frieze  # noqa: B018
