"""Settings of training and fine-tuning: documented, checked when they are made, and shared by both commands."""

import subprocess
import sys

import pytest

from lem_models.errors import ConfigError
from lem_models.training.settings import FinetuneSettings, RunSettings, TrainingSettings


@pytest.mark.parametrize("settings", [RunSettings, TrainingSettings, FinetuneSettings])
def test_every_setting_is_documented_twice_for_code_and_for_the_command_line(settings):
    shared = set() if settings is RunSettings else set(RunSettings.model_fields)
    for name in set(settings.model_fields) - shared:
        assert f"\n        {name}: " in settings.__doc__, name
        assert settings.model_fields[name].description, name


def test_a_number_of_devices_may_be_written_as_text():
    assert [TrainingSettings(devices=devices).devices for devices in ("2", 2, "auto")] == [2, 2, "auto"]


def test_fsdp_spreads_the_weights_over_devices():
    assert TrainingSettings(strategy="fsdp_cpu_offload").is_sharded
    assert not TrainingSettings(strategy="ddp").is_sharded


@pytest.mark.parametrize(
    ("settings", "values", "message"),
    [
        (TrainingSettings, {"num_nodes": 0}, "^the training is refused: num_nodes: Input should be greater"),
        (TrainingSettings, {"precision": "64"}, "^the training is refused: precision: Input should be '32-true'"),
        (TrainingSettings, {"device": 1}, "^the training is refused: device: Extra inputs"),
        (FinetuneSettings, {"method": "feet"}, "^the fine-tuning is refused: method: Input should be 'full'"),
        (FinetuneSettings, {"orders": 10}, "^the fine-tuning is refused: orders: Input should be greater"),
        (FinetuneSettings, {"train_end": "soon"}, "^the fine-tuning is refused: train_end: 'soon' is not a day"),
    ],
    ids=lambda value: str(value)[-40:] if isinstance(value, str) else None,
)
def test_wrong_settings_are_refused(settings, values, message):
    with pytest.raises(ConfigError, match=message):
        settings(**values)


def test_they_load_neither_torch_nor_pandas():
    code = "import sys, lem_models.training.settings; sys.exit(bool({'torch', 'pandas'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
