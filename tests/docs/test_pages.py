"""The documentation is in step with the repository: links lead somewhere, commands and options exist."""

import contextlib
import importlib
import re
import shlex
import subprocess

import pytest
from typer.main import get_command

from lem_models.cli.app import app
from tests.docs.pages import NOT_RUN, PAGES, ROOT, Page

CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
MOST_NOT_RUN = 1
"""Blocks of Python that the tests do not run here: that of NautilusTrader runs where it is installed."""


def named(pages):
    return pytest.mark.parametrize("page", pages, ids=str)


@named(PAGES)
def test_links_lead_somewhere(page):
    for target in page.links:
        path, _, anchor = target.partition("#")
        file = (page.path.parent / path).resolve() if path else page.path
        assert file.exists(), f"{page} links to {target}"
        assert file.is_relative_to(ROOT)
        assert not anchor or anchor in Page(file).anchors, f"{page} links to {target}"


@named([page for page in PAGES if page.path.parent.name == "docs"])
def test_a_page_begins_with_what_it_answers(page):
    title, answer = page.text.split("\n\n")[:2]
    assert title.startswith("# ")
    assert answer.startswith("This page answers: ")


def test_the_readme_leads_to_every_page():
    """Directly, or through one page between: the README has little room."""
    reached, last = set(), [PAGES[0]]
    for _ in range(2):
        links = {(page.path.parent / link.partition("#")[0]).resolve() for page in last for link in page.links}
        reached |= links
        last = [page for page in PAGES if page.path in links]
    assert {page.path for page in PAGES[1:]} <= reached


def test_few_blocks_are_not_run():
    skipped = [f"{page}:{b.line}" for page in PAGES for b in page.blocks if b.text.startswith(NOT_RUN)]
    assert len(skipped) <= MOST_NOT_RUN, skipped


def _lem_options(words):
    """Options that a command line of ``lem`` may have, and the words that are left of it."""
    command = get_command(app)
    options = {name for p in command.params for name in p.opts} | {"--help", "-h", "--version"}
    while words and hasattr(command, "commands") and not words[0].startswith("-"):
        assert words[0] in command.commands, f"there is no command {words[0]}"
        command, words = command.commands[words[0]], words[1:]
        options = {name for p in command.params for name in (*p.opts, *p.secondary_opts)} | {"--help", "-h"}
    return options, words


@named(PAGES)
def test_commands_of_lem_have_their_options(page):
    for line in page.commands:
        words = shlex.split(line)
        if "lem" not in words:
            continue
        options, rest = _lem_options(words[words.index("lem") + 1 :])
        unknown = [word for word in rest if word.startswith("-") and word.split("=")[0] not in options]
        assert not unknown, f"{page}: {line}: {unknown}"


@named(PAGES)
def test_options_named_in_sentences_exist(page):
    """An option alone in backticks is one of some command of ``lem``, or stands in a command line of the page."""
    everywhere = set()
    commands = [get_command(app)]
    while commands:
        command = commands.pop()
        commands += getattr(command, "commands", {}).values()
        everywhere |= {name for p in command.params for name in (*p.opts, *p.secondary_opts)}
    everywhere |= {"-h", "--help", "--version"} | {w for line in page.commands for w in line.split()}
    named_alone = re.findall(r"`(--[a-z-]+)[^`]*`", page.prose)
    assert not set(named_alone) - everywhere, page


SCRIPTS = sorted(
    {line for page in PAGES for line in page.commands if line.startswith("python ") and "benchmarks" in line}
)


@pytest.mark.parametrize("line", SCRIPTS)
def test_scripts_have_their_options(line):
    words = shlex.split(line)[1:]
    target = words[1:2] if words[0] == "-m" else words[:1]
    if words[0] == "-m":
        file = ROOT / (target[0].replace(".", "/") + ".py")
        file = file if file.exists() else ROOT / target[0].replace(".", "/") / "__main__.py"
    else:
        file = ROOT / target[0]
    assert file.is_file(), line
    options = {word.split("=")[0] for word in words if word.startswith("--")}
    text = file.read_text(encoding="utf-8")
    assert all(f'"{option}"' in text for option in options), line


def test_targets_of_make_exist():
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    targets = set(re.findall(r"make ([a-z-]+)", listed))
    for page in PAGES:
        for line in page.commands:
            if line.startswith("make "):
                assert line.split()[1] in targets, f"{page}: {line}"


def _exists(dotted):
    """Whether a dotted name is a module, or a name in one."""
    module, name = dotted, ""
    while module:
        with contextlib.suppress(ImportError):
            return not name or hasattr(importlib.import_module(module), name.split(".")[0])
        module, _, last = module.rpartition(".")
        name = f"{last}.{name}" if name else last
    return False


@named(PAGES)
def test_names_of_the_package_exist(page):
    for dotted in re.findall(r"`(lem_models(?:\.\w+)+)", page.prose):
        assert _exists(dotted), f"{page}: {dotted}"


def test_renamed_modules_have_their_new_names():
    table = re.findall(r"^ *\| (`lem_models.+) \| (`lem_models.+) \|$", CHANGELOG, re.MULTILINE)
    assert len(table) > 8
    for _, new in table:
        names = re.findall(r"`([\w.]+)`", new)
        parent = names[0].rpartition(".")[0]
        for name in names:
            assert _exists(parent + name if name.startswith(".") else name), name


def test_files_named_in_code_exist():
    """Paths of the repository in backticks."""
    pattern = re.compile(r"`((?:benchmarks|recipes|tests|lem_models|docs|model_cards)/[\w./-]*)`")
    for page in PAGES:
        for path in pattern.findall(page.prose):
            assert (ROOT / path).exists(), f"{page}: {path}"
