"""The site of the documentation has every page and every public name, and a strict build of it succeeds."""

import importlib
import re
import subprocess
import sys
import zlib

import pytest
import yaml

import lem_models
from benchmarks.notebooks import FOLDER
from tests.docs.pages import PAGES, ROOT

NAVIGATION = yaml.safe_load((ROOT / "docs" / "site" / "toc.yml").read_text(encoding="utf-8"))
API = sorted((ROOT / "docs" / "api").glob("*.rst"))


def entries(node):
    """Pages of the navigation, without their endings, in order."""
    for entry in [*node.get("subtrees", []), *node.get("entries", [])]:
        yield from [entry["file"]] if "file" in entry else []
        yield from entries(entry)


def test_the_navigation_has_every_page_once():
    listed = [NAVIGATION["root"], *entries(NAVIGATION)]
    cards = (ROOT / "model_cards").glob("*/README.md")
    files = [page.path for page in PAGES[1:]] + [ROOT / "CHANGELOG.md", *API, *FOLDER.glob("*.ipynb"), *cards]
    assert sorted(listed) == sorted(file.relative_to(ROOT).with_suffix("").as_posix() for file in files)


def described():
    """Full names of what the API reference describes."""
    return [
        name for page in API for name in re.findall(r"^\.\. auto\w+:: (\S+)$", page.read_text("utf-8"), re.MULTILINE)
    ]


def test_the_reference_describes_every_public_name_once():
    names = described()
    assert len(names) == len(set(names))
    public = {f"lem_models.{name}" for name in lem_models.__all__} - {"lem_models.__version__", "lem_models.LEMError"}
    assert public <= set(names)
    assert "lem_models.errors" in names  # all of the module, LEMError included


@pytest.mark.parametrize("room", ["desk", "programmes", "evaluation.tca"])
def test_the_reference_describes_the_public_names_of_rooms(room):
    names = importlib.import_module(f"lem_models.{room}").__all__
    assert {f"lem_models.{room}.{name}" for name in names} <= set(described())


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A site, built as ``make docs`` builds it."""
    for package in ("sphinx", "furo", "myst_nb", "sphinx_copybutton", "sphinx_external_toc", "onnx", "fastapi"):
        pytest.importorskip(package, reason=f"{package} is not installed (extra 'docs')")
    folder = tmp_path_factory.mktemp("site")
    options = ["--fail-on-warning", "--keep-going", "--quiet", "-c", "docs/site", ".", str(folder)]
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *options], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_the_site_has_the_public_names(site):
    inventory = (site / "objects.inv").read_bytes().split(b"zlib.\n", 1)[1]
    names = {line.split()[0] for line in zlib.decompress(inventory).decode().splitlines() if " py:" in line}
    assert {f"lem_models.{name}" for name in lem_models.__all__} - {"lem_models.__version__"} <= names | {
        "lem_models.LEMError"
    }
    assert "lem_models.errors.LEMError" in names


def test_the_site_fetches_nothing(site):
    pattern = re.compile(r'<(?:script|img|iframe)[^>]+src="(?:https?:)?//[^"]*"|<link[^>]+href="(?:https?:)?//[^"]*"')
    for page in site.rglob("*.html"):
        assert not pattern.findall(page.read_text(encoding="utf-8")), page
    styles = "".join(path.read_text(encoding="utf-8") for path in site.rglob("*.css"))
    assert not re.findall(r"(?:@import|url\()\s*['\"]?https?:", styles)
