"""Run the example notebooks in fresh kernels and store their outputs: ``make notebooks``.

A notebook keeps the hash of the code that its outputs are of, so a test can tell whether they are old. What a cell
writes to standard error is not stored: it holds paths and progress. Names of notebooks run only those.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lem_models.guard.output import write_text

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "examples" / "notebooks"


def code_of(notebook: Mapping[str, Any]) -> list[str]:
    """The code cells of a notebook, in order: one from ``nbformat``, or the JSON of its file."""
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]


def source_hash(notebook: Mapping[str, Any]) -> str:
    """SHA-256 of the code of a notebook."""
    return hashlib.sha256("\n\0".join(code_of(notebook)).encode()).hexdigest()


def stored_hash(notebook: Mapping[str, Any]) -> str | None:
    """Hash of the code that the stored outputs are of; ``None`` for a notebook that was not run by this script."""
    return notebook["metadata"].get("lem_models", {}).get("source_sha256")


def run(path: Path) -> str:
    """Run a notebook in a fresh kernel, in an empty folder.

    Returns:
        The notebook with its outputs, as the text of a file.

    Raises:
        nbclient.exceptions.CellExecutionError: A cell raised an error.
    """
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(notebook, timeout=600, record_timing=False, resources={"metadata": {"path": folder}})
        client.execute(env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"})
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
        "lem_models": {"source_sha256": source_hash(notebook)},
    }
    return nbformat.writes(notebook) + "\n"


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__)
    names = sorted(path.stem for path in FOLDER.glob("*.ipynb"))
    parser.add_argument("names", nargs="*", help=f"notebooks to run, of {', '.join(names)}; default all")
    chosen = parser.parse_args().names or names
    if unknown := sorted(set(chosen) - set(names)):
        parser.error(f"there is no notebook {', '.join(unknown)}; there are {', '.join(names)}")
    for name in chosen:
        path, begin = FOLDER / f"{name}.ipynb", time.perf_counter()
        write_text(path, run(path))
        print(f"{name}: {time.perf_counter() - begin:.0f} s, {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
