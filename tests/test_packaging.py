"""The package as a user meets it: a light import, a public face in step with itself, one version, no machine paths."""

import ast
import importlib
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import lem_models

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

REPOSITORY = Path(__file__).resolve().parents[1]
PUBLIC_NAMES = sorted(lem_models.__all__)
HEAVY = {"torch", "pandas", "numpy", "pydantic", "lightning", "matplotlib"}


def run_python(code: str) -> str:
    """Standard output of a fresh interpreter."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def modules_after(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after running the code."""
    return set(run_python(f"import sys\n{code}\nprint(*{{name.partition('.')[0] for name in sys.modules}})").split())


def project() -> dict[str, Any]:
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def tracked_texts() -> dict[str, str]:
    """Text of every file that git tracks or would add, by path relative to the repository."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        check=False,
    )
    if listed.returncode != 0:
        pytest.skip("not a git checkout: there is no list of tracked files")
    texts = {}
    for name in filter(None, listed.stdout.split("\0")):
        path = REPOSITORY / name
        content = path.read_bytes() if path.is_file() else b""
        if b"\0" not in content:
            texts[name] = content.decode("utf-8", errors="replace")
    return texts


class TestImport:
    def test_loads_nothing_heavy(self):
        assert modules_after("import lem_models") & HEAVY == set()

    def test_takes_less_than_a_fifth_of_a_second(self):
        code = "import time; start = time.perf_counter(); import lem_models; print(time.perf_counter() - start)"
        assert min(float(run_python(code)) for _ in range(3)) < 0.2

    @pytest.mark.parametrize("name", ["Bars", "LEMError", "Order", "list_models"])
    def test_names_that_only_describe_do_not_load_torch(self, name):
        assert "torch" not in modules_after(f"from lem_models import {name}")

    def test_listing_the_models_does_not_load_torch(self):
        assert "torch" not in modules_after("import lem_models; assert lem_models.list_models()")

    def test_the_command_does_not_load_torch_to_print_its_help(self):
        assert "torch" not in modules_after("import lem_models.cli.app")


class TestPublicFace:
    @pytest.mark.parametrize("name", PUBLIC_NAMES)
    def test_every_name_resolves(self, name):
        assert getattr(lem_models, name) is not None

    def test_lazy_map_is_in_step_with_all(self):
        assert sorted([*lem_models._MODULE_OF, "__version__"]) == PUBLIC_NAMES

    def test_what_type_checkers_see_is_the_lazy_map(self):
        tree = ast.parse(Path(lem_models.__file__).read_text(encoding="utf-8"))
        (block,) = [
            node
            for node in tree.body
            if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        ]
        imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
        assert len(imports) == len(block.body)
        seen = {alias.asname or alias.name: node.module for node in imports for alias in node.names}
        assert seen == lem_models._MODULE_OF

    def test_names_are_offered_for_completion_before_they_are_used(self):
        assert set(PUBLIC_NAMES) <= set(run_python("import lem_models; print(*dir(lem_models))").split())

    def test_a_misspelt_name_is_answered_with_the_right_one(self):
        with pytest.raises(AttributeError, match="no attribute 'LEMModle'; did you mean 'LEMModel'"):
            lem_models.LEMModle  # noqa: B018

    def test_an_unknown_name_is_answered_with_the_public_ones(self):
        with pytest.raises(AttributeError, match=r"no attribute 'zzz' Public names: .*LEMModel"):
            lem_models.zzz  # noqa: B018

    def test_the_package_is_marked_as_typed(self):
        assert (Path(lem_models.__file__).parent / "py.typed").is_file()


class TestVersion:
    def test_is_the_one_in_pyproject(self):
        assert lem_models.__version__ == project()["version"]

    def test_has_an_entry_in_the_changelog(self):
        changelog = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
        assert re.search(rf"^## \[{re.escape(lem_models.__version__)}\] - ", changelog, re.MULTILINE)

    def test_is_the_one_to_cite(self):
        citation = (REPOSITORY / "CITATION.cff").read_text(encoding="utf-8")
        assert f"\nversion: {lem_models.__version__}\n" in citation


class TestDependencies:
    """What pyproject states as the lowest version of a dependency is one that the other dependencies take."""

    def stated(self) -> dict[str, Requirement]:
        """Direct dependencies by name, those of the extras for users too."""
        lines = [*project()["dependencies"], *project()["optional-dependencies"]["lora"]]
        found = [Requirement(line) for line in lines]
        return {canonicalize_name(requirement.name): requirement for requirement in found}

    @pytest.mark.parametrize("name", sorted(Requirement(line).name for line in project()["dependencies"]))
    def test_each_lowest_version_is_one_that_the_installed_dependencies_take(self, name):
        stated, low = self.stated(), {}
        for line in metadata.requires(name) or []:
            needed = Requirement(line)
            other = stated.get(canonicalize_name(needed.name))
            if other is None or (needed.marker is not None and not needed.marker.evaluate({"extra": ""})):
                continue
            if not needed.specifier.contains(lowest(other)):
                low[str(other)] = str(needed)
        assert low == {}, f"{name} {metadata.version(name)} needs more than pyproject.toml states"

    def test_each_has_a_lowest_version_and_it_is_met_here(self):
        for name, requirement in self.stated().items():
            if name != "peft":
                assert Version(lowest(requirement)) <= Version(metadata.version(name))


def lowest(requirement: Requirement) -> str:
    """The lowest version that a requirement allows."""
    (version,) = [part.version for part in requirement.specifier if part.operator == ">="]
    return version


class TestRepository:
    def test_the_command_points_at_a_function(self):
        module, _, function = project()["scripts"]["lem"].partition(":")
        assert callable(getattr(importlib.import_module(module), function))

    def test_torch_is_pinned_in_the_constraints_only(self):
        pin = re.compile(r"\btorch\s*={2,3}\s*\d")
        assert [
            name
            for name, text in tracked_texts().items()
            if pin.search(text) and not name.startswith("tests/release/")  # their examples
        ] == ["constraints.txt"]

    def test_no_path_of_a_particular_machine_is_mentioned(self):
        # Written in pieces, or this file would be the first to break the rule.
        path = re.compile(r"(?<![\w.])/" + "(?:work|farm|root)/|/opt" + "/(?:wheels|pypi)")
        assert {name: found[0] for name, text in tracked_texts().items() if (found := path.search(text))} == {}
