"""Start a module in several processes, as a user does."""

import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
_OF_OTHER_RUNS = ("PL_", "SLURM_", "TORCHELASTIC_", "MASTER_", "LOCAL_", "RANK", "WORLD_SIZE", "NODE_RANK")


def torchrun(*arguments, processes=2):
    """Run ``python -m`` with the arguments under torchrun; its output."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(_OF_OTHER_RUNS)}
    paths = [str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]
    launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), "-m"]
    done = subprocess.run(
        [sys.executable, "-m", *launcher, *map(str, arguments)],
        env={**environment, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-5000:]
    return done.stdout
