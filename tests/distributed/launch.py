"""Start a function in several processes, as ``torchrun`` does."""

import os
import sys
from pathlib import Path

import torch
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

_OF_OTHER_RUNS = ("PL_", "SLURM_", "TORCHELASTIC_", "MASTER_", "LOCAL_", "RANK", "WORLD_SIZE", "NODE_RANK")


def torchrun(function, *arguments, folder, processes=2):
    """Call a function in processes that ``torchrun --standalone`` starts, copies of this one.

    It is torchrun's own launcher, with its environment and its meeting point. A copy has imported everything; to import
    it anew in every process takes longer than what the processes do.

    Args:
        function: What each of them calls.
        *arguments: Its arguments.
        folder: Where they write what they print; shown when one fails.
        processes: How many.
    """
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        start_method="fork",
        monitor_interval=0.1,
    )
    before = dict(os.environ)
    try:
        for name in before:
            if name.startswith(_OF_OTHER_RUNS):
                del os.environ[name]
        elastic_launch(config, _alone)(function, arguments, str(folder))
    except Exception as error:
        shown = [path.read_text()[-5000:] for path in sorted(Path(folder).glob("process-*.txt"))]
        raise AssertionError("\n".join(shown)) from error
    finally:
        os.environ.clear()
        os.environ.update(before)


def _alone(function, arguments, folder):
    torch.set_num_threads(1)  # threads of the parent are not in its child, which would wait for them
    sys.stdout = sys.stderr = open(Path(folder) / f"process-{os.environ['RANK']}.txt", "w", buffering=1)  # noqa: SIM115
    function(*arguments)
