"""How Sphinx builds the site of the documentation: ``make docs``.

The source directory is the repository, so pages, notebooks and code stay where they are, and a link means the same on
the site, on disk and on GitHub. Links to other files of the repository become downloads. ``toc.yml`` has the order of
the pages. Nothing is fetched: fonts are the reader's own, and scripts are those of the theme.
"""

import importlib
import sys
import warnings
from pathlib import Path

FOLDER = Path(__file__).parent
sys.path[:0] = [str(FOLDER.parents[1]), str(FOLDER)]

import lem_models  # noqa: E402

# Autodoc turns typing.TYPE_CHECKING on while it imports, which modules of pydantic models do not stand.
# What is imported here is not imported again.
for module in ("desk.service", "integrations.export", "programmes", "training.finetune.run", "training.push"):
    importlib.import_module(f"lem_models.{module}")

# sphinx_external_toc looks through all objects in memory for one of its kind, and touches an old name of torch.
warnings.filterwarnings("ignore", message=".*reduce_op.* is deprecated", category=FutureWarning)

project = "lem_models"
copyright = "the lem_models authors, Apache-2.0"
version = release = lem_models.__version__
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_external_toc",
    "docstrings",
]
include_patterns = [
    "docs/**",
    "examples/notebooks/*.ipynb",
    "model_cards/**",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "CHANGELOG.md",
]
exclude_patterns = [".git", ".venv", "build", "lem_models", "tests", "benchmarks", "**/.ipynb_checkpoints"]
external_toc_path = "docs/site/toc.yml"

# Every reference that leads nowhere is a warning, and `make docs` turns warnings into errors.
nitpicky = True
myst_heading_anchors = 4
nb_execution_mode = "off"  # notebooks are stored with their outputs; a test runs them

napoleon_use_ivar = True
autodoc_default_options = {"members": True, "member-order": "bysource", "exclude-members": "model_config"}
python_maximum_signature_line_length = 90

highlight_language = "none"  # blocks without a language are commands
html_theme = "furo"
html_title = "lem_models"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
pygments_style = "friendly"
pygments_dark_style = "github-dark"
