"""The example notebooks run, and their stored outputs are of the code that they show."""

import json
import re

import pytest

from benchmarks.notebooks import FOLDER, code_of, run, source_hash, stored_hash
from tests.docs.pages import ROOT

NOTEBOOKS = {path.stem: path for path in sorted(FOLDER.glob("*.ipynb"))}
MOST_BYTES = 300_000


def read(name):
    return json.loads(NOTEBOOKS[name].read_text(encoding="utf-8"))


def test_there_are_three():
    assert list(NOTEBOOKS) == ["evaluate_fills", "finetune_to_live", "quickstart"]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_outputs_are_of_the_code(name):
    notebook = read(name)
    assert stored_hash(notebook) == source_hash(notebook), f"python benchmarks/notebooks.py {name} runs it again"
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert sum(bool(cell["outputs"]) for cell in cells) > len(cells) / 2
    assert not [output for cell in cells for output in cell["outputs"] if output["output_type"] == "error"]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_is_small_and_names_no_path_of_the_machine(name):
    text = NOTEBOOKS[name].read_text(encoding="utf-8")
    assert len(text.encode()) < MOST_BYTES
    assert not re.findall(r"/tmp/\w+|/home/\w+|/root\b", text)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_links_lead_somewhere(name):
    sentences = "\n".join("".join(cell["source"]) for cell in read(name)["cells"] if cell["cell_type"] == "markdown")
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", sentences) if "://" not in link]
    assert links
    for link in links:
        file = (FOLDER / link.partition("#")[0]).resolve()
        assert file.is_file(), link
        assert file.is_relative_to(ROOT)


def test_the_quickstart_runs(tmp_path, monkeypatch):
    """Without a kernel, which is quicker; what a cell shows is not drawn."""
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "notebook"}
    for number, code in enumerate(code_of(read("quickstart")), 1):
        exec(compile(code, f"quickstart, cell {number}", "exec"), names)
    assert names["means"]["null", "own benchmark"]["lem-dow-daily"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs_in_a_fresh_kernel(name):
    for package in ("nbclient", "nbformat", "ipykernel", *(["sqlalchemy"] if name == "finetune_to_live" else [])):
        pytest.importorskip(package, reason=f"{package} is not installed (extra 'notebooks')")
    again, stored = json.loads(run(NOTEBOOKS[name])), read(name)
    assert stored_hash(again) == stored_hash(stored)
    shown = [[output["output_type"] for output in cell.get("outputs", [])] for cell in again["cells"]]
    assert shown == [[output["output_type"] for output in cell.get("outputs", [])] for cell in stored["cells"]]
