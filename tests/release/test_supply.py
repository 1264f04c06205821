"""The audit tells clean, vulnerable and unknown apart."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from release import supply
from release.supply import FOUND, NOT_KNOWN, Audit, explained_ids
from tests.conftest import REPOSITORY

LOCKED = "torch==2.13.0\nnumpy==2.4.6\n"
CLEAN = {"dependencies": [{"name": name, "version": "1", "vulns": []} for name in ("torch", "numpy")]}
SKIPPED = {"dependencies": [CLEAN["dependencies"][0], {"name": "numpy", "skip_reason": "not found"}]}
FLAW = {"id": "PYSEC-2031-7", "aliases": ["CVE-2031-1"], "fix_versions": []}
VULNERABLE = {"dependencies": [CLEAN["dependencies"][0], {"name": "numpy", "version": "1", "vulns": [FLAW]}]}


@pytest.fixture
def ask(tmp_path, monkeypatch):
    """Run the audit with a program in the place of pip-audit, which prints what each service answers."""

    def run(security="", **answers):
        tool = tmp_path / "pip-audit"
        tool.write_text(
            f"#!{sys.executable}\nimport sys\n"
            f"answer = {answers!r}[sys.argv[sys.argv.index('-s') + 1]]\n"
            "sys.exit('cannot connect') if answer is None else print(answer)\n"
        )
        tool.chmod(0o700)
        (tmp_path / "SECURITY.md").write_text(security)
        (tmp_path / "locked.txt").write_text(LOCKED)
        monkeypatch.setattr(supply, "_tool", lambda name: str(tmp_path / name))
        monkeypatch.setattr(supply, "ROOT", tmp_path)
        return supply.audit(tmp_path / "locked.txt")

    return run


def test_clean_is_what_a_service_says_of_every_package(ask, capsys):
    assert ask(pypi=json.dumps(CLEAN), osv=None) == 0
    assert "pypi: asked about 2 packages, not about 0" in capsys.readouterr().out


@pytest.mark.parametrize("first", [None, json.dumps(SKIPPED)], ids=["no answer", "some unknown"])
def test_the_next_service_is_asked_about_what_one_does_not_know(ask, first):
    assert ask(pypi=first, osv=json.dumps(CLEAN)) == 0


@pytest.mark.parametrize("first", [None, json.dumps(SKIPPED)], ids=["no answer", "some unknown"])
def test_what_nobody_knows_is_not_clean(ask, capsys, first):
    assert ask(pypi=first, osv=None) == NOT_KNOWN
    assert "NOT AUDITED" in capsys.readouterr().out


def test_a_vulnerability_fails_unless_it_is_explained(ask, capsys):
    assert ask(pypi=json.dumps(VULNERABLE), osv=None) == FOUND
    assert "vulnerable: numpy 1: PYSEC-2031-7, CVE-2031-1" in capsys.readouterr().out
    elsewhere = "## Other\n\n`CVE-2031-1`\n"
    assert ask(elsewhere, pypi=json.dumps(VULNERABLE), osv=None) == FOUND
    explained = f"## Known vulnerabilities of dependencies\n\n`CVE-2031-1`: not reachable.\n\n{elsewhere}"
    assert ask(explained, pypi=json.dumps(VULNERABLE), osv=None) == 0


def test_the_section_of_explanations_exists():
    text = (REPOSITORY / "SECURITY.md").read_text(encoding="utf-8")
    assert "\n## Known vulnerabilities of dependencies\n" in text
    assert explained_ids(text) == frozenset()


def test_a_report_names_what_is_not_known():
    assert Audit.read("pypi", SKIPPED).unknown == ("numpy",)


def test_the_help_says_what_the_exit_codes_mean():
    command = [sys.executable, str(Path(supply.__file__)), "--help"]
    assert "4 no service" in subprocess.run(command, capture_output=True, text=True, check=True).stdout
