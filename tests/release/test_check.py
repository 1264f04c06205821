"""The release check fails when it should; what it builds and installs is checked by ``make release-check`` itself."""

import importlib.util
import subprocess
import sys
import zipfile

import pytest

from release import check
from release.check import CheckError, Report, Tools, check_wheel
from tests.conftest import REPOSITORY


@pytest.fixture
def wheel(tmp_path):
    """A wheel with the files of this package."""
    path = tmp_path / "lem_models-0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file in (REPOSITORY / "lem_models").rglob("*"):
            if file.is_file() and "__pycache__" not in file.parts:
                archive.writestr(str(file.relative_to(REPOSITORY)), b"")
        for file in (REPOSITORY / "recipes").glob("*.yaml"):
            archive.writestr(f"lem_models/recipes/{file.name}", b"")
    return path


def without(wheel, name):
    """The wheel without a file."""
    other = wheel.with_stem("less")
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(other, "w") as new:
        for each in old.namelist():
            if each != name:
                new.writestr(each, b"")
    return other


def test_a_whole_wheel_passes(wheel):
    assert check_wheel(wheel, kernels=0).endswith("MB")


@pytest.mark.parametrize("name", ["lem_models/py.typed", "lem_models/recipes/base.yaml"])
def test_a_wheel_that_lacks_a_file_fails(wheel, name):
    with pytest.raises(CheckError, match=f"lacks 1 files: {name}"):
        check_wheel(without(wheel, name), kernels=0)


def test_a_wheel_with_other_files_or_kernels_fails(wheel):
    with pytest.raises(CheckError, match="has 0 compiled libraries, not 6"):
        check_wheel(wheel, kernels=6)
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("lem_models/secret.txt", b"")
    with pytest.raises(CheckError, match=r"files that the repository has not: lem_models/secret\.txt"):
        check_wheel(wheel, kernels=0)


@pytest.mark.parametrize(
    ("levels", "partial_ok", "code", "said"),
    [
        (["built", "full", "lowest"], False, 0, "Everything was checked in full."),
        (["built", "without torch"], False, 3, "was not checked in full: 1"),
        (["built", "NOT CHECKED"], True, 0, "was not checked in full: 1"),
        (["full", "FAILED"], True, 1, "FAILED: 1"),
    ],
)
def test_the_exit_code_says_what_was_checked(capsys, levels, partial_ok, code, said):
    report = Report()
    for number, level in enumerate(levels):
        if level == "FAILED":
            report.fail(str(number), CheckError("why\nmore"))
        else:
            report.add(str(number), level, "how")
    assert check._close(report, partial_ok) == code
    assert said in capsys.readouterr().out


def test_a_command_that_fails_is_an_error_with_what_it_printed():
    with pytest.raises(CheckError, match="exited with 3:\nout of cheese"):
        check.run([sys.executable, "-c", "import sys; print('out of cheese', file=sys.stderr); sys.exit(3)"])


def test_schedules_differ_by_their_largest_fraction_and_infinitely_in_other_rows():
    one = {"schedule": [[0, 0, 0.5], [0, 1, 0.5]]}
    assert check._largest(one, {"schedule": [[0, 0, 0.4], [0, 1, 0.6]]}) == pytest.approx(0.1)
    assert check._largest(one, {"schedule": [[0, 0, 1.0]]}) == float("inf")


def test_a_cuda_build_of_torch_is_not_installed_unless_that_is_allowed(tmp_path):
    pins = ["torch==2.13.0", "nvidia-cudnn-cu13==9"]
    assert not Tools(None, False, tmp_path).has_torch(pins)
    assert Tools(None, True, tmp_path).has_torch(pins)
    assert Tools(None, False, tmp_path).has_torch(["torch==2.13.0+cpu"])


def test_the_fast_tests_are_those_of_the_makefile():
    text = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    assert f"\nROOM ?= {' '.join(check.FAST_TESTS)}\n" in text
    assert all((REPOSITORY / "tests" / name).exists() for name in check.FAST_TESTS)


def test_the_build_hook_does_nothing_unless_it_is_asked(monkeypatch):
    pytest.importorskip("hatchling", reason="hatchling is there during builds only")
    spec = importlib.util.spec_from_file_location("bundle", REPOSITORY / "release" / "bundle.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    hook = module.BundleKernels(str(REPOSITORY), {}, None, None, "", "wheel")
    monkeypatch.delenv("LEM_BUNDLE_KERNELS", raising=False)
    data = {"force_include": {}}
    hook.initialize("standard", data)
    assert data == {"force_include": {}}


def test_the_smoke_test_compiles():
    subprocess.run([sys.executable, "-m", "py_compile", str(REPOSITORY / "release" / "smoke.py")], check=True)
