"""The workflows of GitHub: they parse, call what exists, pin what they use, and may do no more than they need."""

import re
import subprocess

import pytest
import yaml

from lem_models.hub.models.zoo import list_models
from tests.conftest import REPOSITORY
from tests.docs.test_pages import _lem_options

FOLDER = REPOSITORY / ".github" / "workflows"
FILES = sorted(FOLDER.glob("*.yml"))
PINNED = re.compile(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}")

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="an sdist has no workflows")


def read(path):
    """A workflow; YAML 1.1 reads its key ``on`` as a boolean."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {"on" if key is True else key: value for key, value in content.items()}


def jobs(path):
    return read(path)["jobs"]


def steps(path):
    return [step for job in jobs(path).values() for step in job["steps"]]


def commands(path):
    return [step["run"] for step in steps(path) if "run" in step]


every = pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)


def test_they_are_the_three_that_the_project_has():
    assert [path.name for path in FILES] == ["ci.yml", "hub.yml", "release.yml"]


@every
def test_it_parses_and_each_job_has_an_end(path):
    content = read(path)
    assert content["on"]
    for job in content["jobs"].values():
        assert job["steps"]
        assert job["runs-on"] == "ubuntu-latest"
        if "publish" not in job["name"].lower():
            assert 0 < job["timeout-minutes"] <= 120


@every
def test_it_may_read_and_nothing_else_unless_a_job_says_so(path):
    assert read(path)["permissions"] == {"contents": "read"}
    for name, job in jobs(path).items():
        more = {key for key, value in job.get("permissions", {}).items() if value == "write"}
        allowed = {"release.yml": {"publish": {"id-token", "attestations"}}, "hub.yml": {"model": {"id-token"}}}
        assert more == allowed.get(path.name, {}).get(name, set())


@every
def test_every_action_is_pinned_by_its_commit(path):
    used = [step["uses"] for step in steps(path) if "uses" in step]
    assert used
    assert [action for action in used if not PINNED.fullmatch(action)] == []
    for action, version in re.findall(r"uses: (\S+)(.*)", path.read_text(encoding="utf-8")):
        assert re.fullmatch(r" # v\d+\.\d+\.\d+", version), f"{action} does not say its version"


@every
def test_a_checkout_keeps_no_credentials(path):
    for step in steps(path):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


@every
def test_targets_and_scripts_that_it_calls_exist(path):
    called = " ".join(commands(path))
    targets = [word for line in commands(path) for word in re.findall(r"(?<=make ).+", line)]
    known = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert {target for line in targets for target in line.split()} <= known
    for script in re.findall(r"[\w./-]+\.py|\.ci/run", called):
        assert (REPOSITORY / script).is_file()


@every
def test_shell_lines_are_valid_and_take_no_input_of_strangers_into_their_text(path):
    for command in commands(path):
        assert "${{" not in command, "an expression in a shell line is code of whoever wrote the value"
        done = subprocess.run(["bash", "-n"], input=command, text=True, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr


def test_changes_run_what_the_project_runs():
    (job,) = [job for job in jobs(FOLDER / "ci.yml").values() if "strategy" in job]
    assert job["strategy"]["matrix"]["python"] == ["3.10", "3.11", "3.12", "3.13"]
    assert "bash .ci/run" in [step.get("run") for step in job["steps"]]
    assert read(FOLDER / "ci.yml")["on"].keys() == {"push", "pull_request"}


def test_a_release_is_checked_before_it_is_published_and_has_no_stored_token():
    made = jobs(FOLDER / "release.yml")
    assert made["publish"]["needs"] == "build"
    assert made["publish"]["environment"]["name"] == "pypi"
    assert made["publish"]["if"] == "github.ref_type == 'tag'"
    assert "make release-check" in [step.get("run") for step in made["build"]["steps"]]
    assert "secrets." not in (FOLDER / "release.yml").read_text(encoding="utf-8")


def test_every_bundled_model_is_published_by_a_command_that_exists():
    made = jobs(FOLDER / "hub.yml")
    assert made["model"]["strategy"]["matrix"]["model"] == list(list_models())
    assert made["model"]["steps"][-1]["env"]["HF_OIDC_RESOURCE"].endswith("/${{ matrix.model }}")
    for job in made.values():
        words = re.sub(r"\$\(.*\)", "--dry-run", job["steps"][-1]["run"]).replace('"', "").split()
        options, rest = _lem_options(words[1:])
        assert {word for word in rest if word.startswith("-")} <= options
