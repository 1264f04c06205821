"""One start of two processes for every test that looks at what they do."""

import pytest
import yaml

from lem_models import synthetic_bars
from lem_models.training.run import train
from tests.distributed.job import RESUMED
from tests.distributed.launch import torchrun
from tests.helpers import rebuilt
from tests.training.tiny import BARS, TINY, Watched


@pytest.fixture(scope="session")
def two_processes(tmp_path_factory):
    """The folder in which two processes did the jobs of :mod:`tests.distributed.job`.

    Tests that take it are in one group, ``xdist_group("two processes")``.
    """
    folder = tmp_path_factory.mktemp("two-processes")
    BARS.write(folder / "bars.parquet")
    bars = synthetic_bars(symbols=3, days=30, seed=4)
    rebuilt(bars, bars.frame.drop(index=[500])).write(folder / "gap.parquet")
    trainer = {"steps": 4, "steps_per_epoch": 2, "accumulate": 2, "averaging": 0.9}
    (folder / "recipe.yaml").write_text(yaml.safe_dump({**TINY, "trainer": trainer}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lem_models.training.run.MarketBatches", Watched)
        patch.setattr(Watched, "seen", [])
        patch.setattr(Watched, "stop_at", 4)
        with pytest.raises(RuntimeError, match="power cut"):
            train(RESUMED, out=folder / "broken", data=folder / "bars.parquet", accelerator="cpu", progress=False)
    torchrun("tests.distributed.job", folder)
    return folder
