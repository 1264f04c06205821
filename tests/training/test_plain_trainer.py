"""A plain Lightning trainer: which models it fits, and from when on their heads have learnt."""

import contextlib

import lightning
import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback

from lem_models.errors import ConfigError, UntrainedHeadError
from lem_models.execution.execute import execute
from lem_models.modeling.model import LEMModel
from lem_models.modeling.optimizer import OptimizerConfig
from lem_models.orders import Order
from lem_models.training.datamodule import ExecutionDataModule
from tests.helpers import random_model
from tests.training.tiny import BARS, tiny_batches, tiny_recipe

CONFIG = tiny_recipe().model
SETTINGS = {"hidden_size": 12, "layers": 1}


def trainer(kind=Trainer, **settings):
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    quiet |= {"enable_checkpointing": False, "num_sanity_val_steps": 0}
    return kind(accelerator="cpu", devices=1, **quiet | settings)


def batches():
    return ExecutionDataModule([tiny_batches()], batches_per_epoch=3)


def predicts(model):
    try:
        execute(model, BARS, Order.sample(BARS, every=300, max_periods=6))
    except UntrainedHeadError:
        return False
    return True


class PowerCut(Exception):
    """It can come at any time."""


class Interrupted(Callback):
    """Breaks off before an optimiser step."""

    def __init__(self, step):
        self.step = step

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        if trainer.global_step == self.step:
            raise PowerCut


# --- which models ----------------------------------------------------------------------------------------------------


def loaded(folder):
    random_model(CONFIG).save_pretrained(folder)
    return LEMModel.from_pretrained(folder)


@pytest.mark.parametrize("kind", [Trainer, lightning.Trainer], ids=["lightning.pytorch", "lightning"])
@pytest.mark.parametrize(
    "make",
    [
        lambda folder: LEMModel(CONFIG),
        loaded,
        lambda folder: loaded(folder).with_head("flexible", SETTINGS)[0],
        lambda folder: loaded(folder).with_head("fixed_duration")[0],
        lambda folder: loaded(folder).with_head_settings(profile_exponent=True),
        lambda folder: loaded(folder).with_horizon(8),
    ],
    ids=["fresh", "loaded", "with_head", "another head", "with_head_settings", "with_horizon"],
)
def test_a_plain_trainer_fits_every_model(make, kind, tmp_path):
    model = make(tmp_path)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trainer(kind, max_steps=3).fit(model, batches())
    assert any(not torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert predicts(model)
    assert not model.training


@pytest.mark.parametrize(
    ("length", "rate"),
    [
        ({"max_steps": 20}, 2e-5),
        ({"max_epochs": 2}, 2e-5),
        ({"max_steps": -1, "max_epochs": -1, "max_time": {"milliseconds": 200}}, None),
    ],
    ids=str,
)
def test_the_default_schedule_ends_with_the_trainer_if_that_has_an_end(length, rate):
    steps = trainer(**length)
    steps.fit(LEMModel(CONFIG), batches())
    (optimizer,) = steps.optimizers
    warm = 2e-3 * (0.01 + 0.99 * min(steps.global_step, 100) / 100)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(warm if rate is None else rate)
    assert optimizer.param_groups[0]["weight_decay"] == OptimizerConfig().weight_decay


def test_a_loaded_model_trains_with_dropout(tmp_path):
    random_model(CONFIG.model_copy(update={"dropout": 0.5})).save_pretrained(tmp_path)
    seen = []

    class Watch(Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            seen.append(all(module.training for module in pl_module.modules()))

    trainer(max_steps=2, callbacks=[Watch()]).fit(LEMModel.from_pretrained(tmp_path), batches())
    assert seen == [True, True]


@pytest.mark.parametrize("what", ["test", "predict"])
@pytest.mark.parametrize("data", [{}, {"dataloaders": [1]}, {"datamodule": batches}], ids=["none", "loader", "module"])
def test_test_and_predict_say_what_to_use_instead(what, data):
    data = {name: value() if callable(value) else value for name, value in data.items()}
    with pytest.raises(ConfigError, match=rf"^trainer\.{what} .* use execute\(model, bars, orders\).*lem benchmark"):
        getattr(trainer(), what)(random_model(CONFIG), **data)


# --- when a head has learnt ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        {"max_steps": 0},
        {"max_epochs": 0},
        {"max_epochs": 1, "limit_train_batches": 0},
        {"max_steps": 2, "callbacks": [Interrupted(0)]},
    ],
    ids=["no steps", "no epochs", "no batches", "interrupted before the first"],
)
def test_a_fit_without_a_step_trains_nothing(settings):
    for model, learnt in ((LEMModel(CONFIG), False), (random_model(CONFIG), True)):
        with contextlib.suppress(PowerCut):
            trainer(**settings).fit(model, batches())
        assert predicts(model) is learnt


def test_validation_trains_nothing():
    model = LEMModel(CONFIG)
    trainer().validate(model, batches(), verbose=False)
    assert not predicts(model)


def test_one_step_before_an_interruption_is_enough():
    model = LEMModel(CONFIG)
    with pytest.raises(PowerCut):
        trainer(max_steps=3, callbacks=[Interrupted(1)]).fit(model, batches())
    assert predicts(model)


class Odd(LEMModel):
    """A model whose steps are not taken, or teach the head nothing."""

    kind = ""

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        return None if self.kind == "no loss" else loss * (float("nan") if self.kind == "nan" else 1.0)

    def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure):
        if self.kind == "skipped":
            optimizer_closure()  # as a gradient scaler does that has found an overflow
        else:
            super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)

    def configure_optimizers(self):
        if self.kind == "frozen":
            self.head.requires_grad_(False)
        return super().configure_optimizers()


@pytest.mark.parametrize(
    ("kind", "learns"), [("", True)] + [(k, False) for k in ("no loss", "nan", "skipped", "frozen")]
)
def test_a_step_counts_when_it_moves_the_head(kind, learns):
    model = Odd(CONFIG)
    model.kind = kind
    trainer(max_steps=1, max_epochs=1, limit_val_batches=0).fit(model, batches())
    assert model.is_trained is learns
    assert predicts(model) is learns


@pytest.mark.parametrize(("steps", "learns"), [(0, False), (2, True)])
def test_a_checkpoint_knows_whether_its_head_has_learnt(steps, learns, tmp_path):
    first = trainer(max_steps=steps)
    first.fit(LEMModel(CONFIG), batches())
    first.save_checkpoint(tmp_path / "a.ckpt")
    for trained in (False, True):
        model = random_model(CONFIG) if trained else LEMModel(CONFIG)
        trainer(max_steps=steps).fit(model, batches(), ckpt_path=tmp_path / "a.ckpt", weights_only=True)
        assert model.is_trained is learns
    model = LEMModel(CONFIG)
    trainer().validate(model, batches(), ckpt_path=tmp_path / "a.ckpt", verbose=False, weights_only=True)
    assert model.is_trained is learns


def test_copies_of_a_model_have_learnt_as_much_as_it_has():
    fresh, trained = LEMModel(CONFIG), random_model(CONFIG)
    for model, learns in ((fresh, False), (trained, True)):
        assert model.with_horizon(4).is_trained is learns
        assert model.with_head_settings(profile_exponent=True).is_trained is learns
        assert model.with_head("flexible", SETTINGS)[0].is_trained is False
