"""Build the distributions and try them in clean environments, as their users will.

    python release/check.py                              # every Python of 3.10 to 3.13 that this machine has
    python release/check.py --python 3.11 --no-lowest
    python release/check.py --torch-index URL            # CPU builds of torch for every Python, as in CI

What it does:

1. Builds the sdist, and from the sdist the pure wheel and, on Linux x86-64 with g++, the wheel with compiled kernels.
   Checks their content and metadata.
2. Installs them into empty environments, one per Python. With a CPU build of torch at hand (level "full"), every
   bundled model loads; decisions on real bars agree between eager code and the wheel's kernels, with no compiler on the
   path; the pure wheel says once that it runs without kernels. Without torch (level "without torch"), the requirements
   resolve; all but torch and what needs it is installed; all modules compile to bytecode; bars, orders, commands work.
3. Installs the lowest versions that ``pyproject.toml`` allows, and runs the fast tests with them (level "lowest").

The table at the end says which level each Python reached. The exit code is 1 if anything failed, and 3 if nothing
failed but something was not checked in full: a release needs 0. ``--partial-ok`` makes this 0.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
NEEDS_TORCH = ("torch", "lightning", "pytorch-lightning", "torchmetrics", "lightning-utilities", "triton")
FAST_TESTS = ("guard", "orders", "markets", "statistics", "features", "modeling", "test_structure.py")
TOLERANCE = 1e-4
"""Largest difference of a fraction between eager code and kernels, as of live and hindsight in tests/properties."""
_TORCH = re.search(r"^torch==(\S+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
TORCH = _TORCH[1] if _TORCH else ""


class CheckError(Exception):
    """A check failed; the message says which and why."""


@dataclass
class Tools:
    """Commands, and where packages come from.

    Attributes:
        torch_index: Index with CPU builds of torch.
        cuda_ok: Whether to install CUDA builds too.
        work: Folder for environments and builds.
    """

    torch_index: str | None
    cuda_ok: bool
    work: Path

    def has_torch(self, pins: Sequence[str]) -> bool:
        """Whether torch may be installed: a CPU build, or any if CUDA builds are allowed."""
        return self.cuda_ok or not any(line.startswith(("nvidia-", "cuda-")) for line in pins)

    @property
    def sources(self) -> list[str]:
        """Where uv looks for packages besides PyPI: the folders that pip is told of, and the index of torch."""
        links = [flag for place in os.environ.get("PIP_FIND_LINKS", "").split() for flag in ("--find-links", place)]
        index = ["--index", self.torch_index, "--index-strategy", "unsafe-best-match"] if self.torch_index else []
        return [*links, *index]

    def uv(self, *arguments: str) -> str:
        """Run uv."""
        return run([_tool("uv"), *arguments])

    def resolve(self, name: str, python: str, requirements: Sequence[str], *options: str) -> Path:
        """Pinned versions of requirements for a Python, wheels only; the file."""
        given, made = self.work / f"{name}.in", self.work / f"{name}.txt"
        given.write_text("\n".join(requirements) + "\n", encoding="utf-8")
        flags = ["--no-header", "--no-annotate", "--only-binary", ":all:", "--python-version", python, "--upgrade"]
        self.uv("pip", "compile", "-q", *flags, *self.sources, *options, str(given), "-o", str(made))
        return made

    def environment(self, name: str, interpreter: str, pins: Path, *others: str) -> Path:
        """An empty environment with pinned versions and nothing else; its interpreter."""
        folder = self.work / name
        self.uv("venv", "-q", "--clear", "-p", interpreter, str(folder))
        python = folder / "bin" / "python"
        self.uv("pip", "install", "-q", "-p", str(python), "--no-deps", *self.sources, "-r", str(pins), *others)
        self.uv("pip", "check", "-p", str(python)) if "without" not in name else None
        return python


@dataclass
class Report:
    """Levels by Python, and failures."""

    rows: list[tuple[str, str, str]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def add(self, what: str, level: str, detail: str) -> None:
        """A line of the table, printed at once too."""
        self.rows.append((what, level, detail))
        print(f"-- {what}: {level}. {detail}", flush=True)

    def fail(self, what: str, error: Exception) -> None:
        """A failure."""
        self.failures.append(what)
        self.add(what, "FAILED", str(error))


def run(command: Sequence[str], *, environ: Mapping[str, str] | None = None, cwd: Path | None = None) -> str:
    """Standard output of a command.

    Raises:
        CheckError: It fails; with the end of what it printed.
    """
    done = subprocess.run(command, capture_output=True, text=True, env=environ, cwd=cwd, check=False)
    if done.returncode:
        shown = (done.stdout + done.stderr).strip()[-3000:]
        raise CheckError(f"{' '.join(command)[:300]} exited with {done.returncode}:\n{shown}")
    return done.stdout


def _tool(name: str) -> str:
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.is_file() else shutil.which(name)
    if found is None:
        raise CheckError(f"{name} is not installed: make release-check installs it (pip install '.[release]')")
    return found


# --- distributions ---------------------------------------------------------------------------------------------------


def build(work: Path) -> tuple[Path, Path, Path | None]:
    """Build sdist, pure wheel and, where that is possible, the wheel with kernels.

    Returns:
        The unpacked sdist, the pure wheel, the wheel with kernels.
    """
    dist = work / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    run([sys.executable, "-m", "build", "--sdist", "-o", str(dist), str(ROOT)])
    (sdist,) = dist.glob("*.tar.gz")
    shutil.rmtree(work / "sdist", ignore_errors=True)
    with tarfile.open(sdist) as archive:
        archive.extractall(work / "sdist", filter="data") if sys.version_info >= (3, 12) else archive.extractall(
            work / "sdist"
        )
    (source,) = (work / "sdist").iterdir()
    run([sys.executable, "-m", "build", "--wheel", "-o", str(dist), str(source)])
    (pure,) = dist.glob("*-none-any.whl")
    bundled = None
    if (sys.platform, platform.machine()) == ("linux", "x86_64") and shutil.which("g++"):
        here = work / "linux"
        shutil.rmtree(here, ignore_errors=True)
        environ = {**os.environ, "LEM_BUNDLE_KERNELS": "1", "CXX": "g++"}
        run([sys.executable, "-m", "build", "--wheel", "-o", str(here), str(source)], environ=environ)
        (raw,) = here.glob("*.whl")
        path = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
        run([_tool("auditwheel"), "repair", "-w", str(dist), str(raw)], environ={**os.environ, **path})
        (bundled,) = dist.glob("*manylinux*.whl")
    run([_tool("twine"), "check", "--strict", *map(str, dist.iterdir())])
    return source, pure, bundled


def check_sdist(source: Path) -> str:
    """Every file that git tracks and a build or a test may need is in the sdist.

    Raises:
        CheckError: Some are missing.
    """
    listed = subprocess.run(["git", "ls-files", "-z"], capture_output=True, text=True, cwd=ROOT, check=False)
    if listed.returncode:
        return "no git here, so its files were not compared"
    left_out = (".gitignore", ".github/")
    wanted = [name for name in listed.stdout.split("\0") if name and not name.startswith(left_out)]
    missing = [name for name in wanted if (ROOT / name).is_file() and not (source / name).is_file()]
    if missing:
        raise CheckError(f"the sdist lacks {len(missing)} files of the repository: {', '.join(missing[:5])}")
    return f"{len(wanted)} files"


def check_wheel(wheel: Path, *, kernels: int) -> str:
    """The wheel has what the package reads at run time, and so many compiled kernels.

    Raises:
        CheckError: Something is missing, or there are other kernels.
    """
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
    wanted = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "lem_models").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    } | {f"lem_models/{path.relative_to(ROOT)}" for path in (ROOT / "recipes").rglob("*.yaml")}
    missing = sorted(wanted - names)
    if missing:
        raise CheckError(f"{wheel.name} lacks {len(missing)} files: {', '.join(missing[:5])}")
    libraries = [name for name in names if name.endswith(".so")]
    if len(libraries) != kernels:
        raise CheckError(f"{wheel.name} has {len(libraries)} compiled libraries, not {kernels}")
    others = sorted(name for name in names - wanted - set(libraries) if ".dist-info/" not in name)
    if others:
        raise CheckError(f"{wheel.name} has files that the repository has not: {', '.join(others[:5])}")
    return f"{len(names)} files, {wheel.stat().st_size / 1e6:.1f} MB"


# --- installations ---------------------------------------------------------------------------------------------------


def check_python(tools: Tools, version: str, interpreter: str, wheels: Mapping[str, Path]) -> tuple[str, str]:
    """Install into clean environments and use the package.

    Returns:
        The level that was reached, and details.
    """
    pins = tools.resolve(f"pins-{version}", version, [_requirement(wheels["pure"]), f"torch=={TORCH}"])
    listed = _pins(pins)
    if not tools.has_torch(listed):
        without = tools.work / f"without-torch-{version}.txt"
        kept = [line for line in listed if not _is_of_torch(line)]
        without.write_text("\n".join(kept) + "\n", encoding="utf-8")
        python = tools.environment(f"without-torch-{version}", interpreter, without, str(wheels["pure"]))
        _compile_all(python)
        run([str(python), str(ROOT / "release" / "smoke.py"), "without-torch"], cwd=tools.work, environ=_bare(python))
        left_out = len(listed) - len(kept)
        return "without torch", f"{len(listed)} requirements resolve, {left_out} of torch not installed: no CPU build"
    python = tools.environment(f"full-{version}", interpreter, pins, str(wheels["pure"]))
    _compile_all(python)
    eager = _decisions(tools, python, LEM_KERNELS="0")
    pure = _decisions(tools, python)
    if pure["kernels"] is not None or len(pure["log"]) != 1 or "without its compiled kernels" not in pure["log"][0]:
        raise CheckError(f"the pure wheel without a compiler: kernels {pure['kernels']}, log {pure['log']}")
    details = [f"torch {pure['torch']}, {pure['orders']} orders", f"pure wheel: {_largest(eager, pure):.1g} from eager"]
    if "linux" in wheels:
        tools.uv("pip", "install", "-q", "-p", str(python), "--no-deps", "--reinstall", str(wheels["linux"]))
        bundled = _decisions(tools, python)
        if bundled["kernels"] is None or "bundled" not in Path(bundled["kernels"]).parts or len(bundled["log"]) > 0:
            raise CheckError(f"the wheel's kernels did not serve: {bundled['kernels']}, log {bundled['log']}")
        far = _largest(eager, bundled)
        if not far <= TOLERANCE:
            raise CheckError(f"fractions by the wheel's kernels are up to {far} from those of the eager code")
        details.append(f"{Path(bundled['kernels']).name}: {far:.1g} from eager")
    return "full", "; ".join(details)


def check_lowest(tools: Tools, version: str, interpreter: str, source: Path) -> tuple[str, str]:
    """Install the lowest direct versions and run the fast tests of the sdist.

    Returns:
        The level, and what it is about.
    """
    requirement = [f"lem-models[test] @ {source.as_uri()}"]
    pins = tools.resolve(f"lowest-{version}", version, requirement, "--resolution", "lowest-direct")
    about = "every lowest version, torch too"
    if not tools.has_torch(_pins(pins)):
        (torch,) = [line for line in _pins(tools.work / f"pins-{version}.txt") if line.startswith("torch==")]
        requirement.append(torch)
        pins = tools.resolve(f"lowest-{version}", version, requirement, "--resolution", "lowest-direct")
        about = f"every lowest version but torch's, which is {TORCH}: there is no CPU build of its lowest one"
    python = tools.environment(f"lowest-{version}", interpreter, pins)
    tests = [f"tests/{name}" for name in FAST_TESTS]
    shown = run(
        [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", "-x", *tests],
        cwd=source,
        environ={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    return "lowest", f"{about}; {shown.strip().splitlines()[-1]}"


def _requirement(wheel: Path) -> str:
    return f"lem-models @ {wheel.as_uri()}"


def _pins(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if "==" in line and line[0] != "#"]


def _is_of_torch(line: str) -> bool:
    name = re.split(r"[=\s\[]", line, maxsplit=1)[0]
    return name in NEEDS_TORCH or name.startswith(("nvidia-", "cuda-"))


def _compile_all(python: Path) -> None:
    code = "import lem_models, pathlib; print(pathlib.Path(lem_models.__file__).parent)"
    package = run([str(python), "-c", code], cwd=python.parent).strip()
    run([str(python), "-m", "compileall", "-q", "-f", package])


def _bare(python: Path, **more: str) -> dict[str, str]:
    """The environment of a program that finds its own commands and no compiler."""
    kept = {name: value for name, value in os.environ.items() if name in ("HOME", "TMPDIR", "LANG")}
    return {**kept, "PATH": str(python.parent), "HF_HUB_OFFLINE": "1", "MPLBACKEND": "agg", **more}


def _decisions(tools: Tools, python: Path, **more: str) -> dict[str, object]:
    """Decisions of a fresh process without a compiler and with an empty cache."""
    with tempfile.TemporaryDirectory(dir=tools.work) as folder:
        out = Path(folder) / "decisions.json"
        environ = _bare(python, LEM_CACHE=str(Path(folder) / "cache"), **more)
        run([str(python), str(ROOT / "release" / "smoke.py"), "decide", str(out)], cwd=Path(folder), environ=environ)
        made: dict[str, object] = json.loads(out.read_text(encoding="utf-8"))
    if not Path(str(made["package"])).is_relative_to(python.parents[1]):
        raise CheckError(f"the package came from {made['package']}, not from the clean environment")
    return made


def _largest(one: Mapping[str, object], two: Mapping[str, object]) -> float:
    """The largest difference of a fraction; infinite if the schedules have other rows."""
    left, right = one["schedule"], two["schedule"]
    assert isinstance(left, list)
    assert isinstance(right, list)
    if [row[:2] for row in left] != [row[:2] for row in right]:
        return float("inf")
    return max(abs(a[2] - b[2]) for a, b in zip(left, right, strict=True))


def _interpreters(wanted: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    """Path of each wanted Python; ``None`` where the machine has none."""
    for version in wanted:
        done = subprocess.run(
            [_tool("uv"), "python", "find", "--no-project", "--system", version],
            capture_output=True,
            text=True,
            env={**os.environ, "UV_PYTHON_DOWNLOADS": "never"},
            check=False,
        )
        yield version, done.stdout.strip() if done.returncode == 0 else None


def main() -> int:
    """Run the checks; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", nargs="+", default=list(PYTHONS), help=f"default: {' '.join(PYTHONS)}")
    parser.add_argument("--torch-index", help="index with CPU builds of torch; default: PyPI and find-links of pip")
    parser.add_argument("--cuda-ok", action="store_true", help="install CUDA builds of torch, of several GB, too")
    parser.add_argument("--no-lowest", action="store_true", help="leave out the tests with the lowest versions")
    parser.add_argument("--partial-ok", action="store_true", help="exit with 0 though a Python was not checked in full")
    parser.add_argument("--work", type=Path, help="folder to keep builds and environments in; default: a temporary one")
    given = parser.parse_args()
    report = Report()
    with tempfile.TemporaryDirectory(prefix="lem-release-") as temporary:
        work = (given.work or Path(temporary)).resolve()
        work.mkdir(parents=True, exist_ok=True)
        tools = Tools(given.torch_index, given.cuda_ok, work)
        try:
            source, pure, linux = build(work)
            report.add("sdist", "built", check_sdist(source))
            report.add("pure wheel", "built", check_wheel(pure, kernels=0))
            wheels = {"pure": pure}
            if linux is None:
                report.add("wheel with kernels", "NOT BUILT", "that takes Linux on x86-64 and g++")
            else:
                report.add("wheel with kernels", "built", f"{linux.name}: {check_wheel(linux, kernels=6)}")
                wheels["linux"] = linux
        except CheckError as error:
            report.fail("distributions", error)
            return _close(report, given.partial_ok)
        lowest_done = given.no_lowest
        for version, interpreter in _interpreters(given.python):
            what = f"Python {version}"
            if interpreter is None:
                report.add(what, "NOT CHECKED", "this machine has no such Python")
                continue
            try:
                level, detail = check_python(tools, version, interpreter, wheels)
                report.add(what, level, detail)
                if level == "full" and not lowest_done:  # the lowest Python that has torch
                    lowest_done = True
                    report.add(f"{what}, lowest versions", *check_lowest(tools, version, interpreter, source))
            except CheckError as error:
                report.fail(what, error)
        if not lowest_done:
            report.add("lowest versions", "NOT CHECKED", "no Python here has a CPU build of torch")
    return _close(report, given.partial_ok)


def _close(report: Report, partial_ok: bool) -> int:
    width = max(len(what) for what, _, _ in report.rows)
    print(
        "\n" + "\n".join(f"{what:{width}}  {level:14}{detail.splitlines()[0]}" for what, level, detail in report.rows)
    )
    if report.failures:
        print(f"\nFAILED: {', '.join(report.failures)}")
        return 1
    partly = [what for what, level, _ in report.rows if level not in ("built", "full", "lowest")]
    if partly:
        print(f"\nNothing failed, but this was not checked in full: {', '.join(partly)}")
        return 0 if partial_ok else 3
    print("\nEverything was checked in full.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
