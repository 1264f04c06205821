"""What a release is made with: the locked versions, their bill of materials, and their known vulnerabilities.

    python release/supply.py sbom --out dist/lem_models-sbom.cdx.json
    python release/supply.py audit

The locked versions are what ``make`` would install now: the dependencies and the extras for users, with the pins of
``constraints.txt``. The bill of materials is CycloneDX 1.6, validated against its schema. The audit asks PyPI, and OSV
where PyPI cannot answer. A vulnerability that SECURITY.md names in its section "Known vulnerabilities of dependencies"
is explained there, and does not fail the audit.

Exit codes of the audit: 0 clean or explained, 1 a vulnerability without an explanation, 4 no service could be asked
about all packages, so nothing is known.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
EXTRAS = ("data", "desk", "lora", "onnx", "plotly", "postgres", "serve")
"""Extras for users; those for developers are no part of a release."""
SERVICES = ("pypi", "osv")
FOUND, NOT_KNOWN = 1, 4
_ID = re.compile(r"`((?:GHSA|PYSEC|CVE|OSV)-[\w-]+)`")


@dataclass(frozen=True)
class Audit:
    """Answer of one service.

    Attributes:
        service: Its name.
        vulnerable: Names of vulnerabilities, aliases included, by package and version.
        unknown: Packages that it could not be asked about.
    """

    service: str
    vulnerable: Mapping[str, tuple[tuple[str, ...], ...]]
    unknown: tuple[str, ...]

    @classmethod
    def read(cls, service: str, report: Mapping[str, Any]) -> Audit:
        """Read a JSON report of pip-audit."""
        vulnerable = {
            f"{each['name']} {each['version']}": tuple((v["id"], *v.get("aliases", ())) for v in each["vulns"])
            for each in report["dependencies"]
            if each.get("vulns")
        }
        unknown = tuple(each["name"] for each in report["dependencies"] if "skip_reason" in each)
        return cls(service, vulnerable, unknown)

    def unexplained(self, explained: frozenset[str]) -> list[str]:
        """A line for each vulnerability of which no name is explained."""
        return [
            f"{package}: {', '.join(names)}"
            for package, found in self.vulnerable.items()
            for names in found
            if not explained & set(names)
        ]


def explained_ids(text: str) -> frozenset[str]:
    """Names of vulnerabilities that a section of SECURITY.md explains."""
    section = re.search(r"^## Known vulnerabilities of dependencies$(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    return frozenset(_ID.findall(section[1])) if section else frozenset()


def lock(out: Path) -> None:
    """Write the locked versions, without the local names of builds, such as ``+cpu``."""
    extras = [flag for extra in EXTRAS for flag in ("--extra", extra)]
    command = [_tool("uv"), "pip", "compile", "-q", "--no-header", "--no-annotate", "-c", "constraints.txt", *extras]
    done = subprocess.run([*command, "pyproject.toml"], capture_output=True, text=True, cwd=ROOT, check=False)
    if done.returncode:
        raise SystemExit(f"the dependencies do not resolve:\n{done.stderr}")
    out.write_text(re.sub(r"\+\w+(?=\s|$)", "", done.stdout), encoding="utf-8")


def sbom(locked: Path, out: Path) -> None:
    """Write the bill of materials; the same versions give the same bytes."""
    out.parent.mkdir(parents=True, exist_ok=True)
    command = [
        _tool("cyclonedx-py"),
        "requirements",
        "--pyproject",
        str(ROOT / "pyproject.toml"),
        "--mc-type",
        "library",
    ]
    flags = ["--spec-version", "1.6", "--output-reproducible", "--validate", "--output-format", "JSON"]
    subprocess.run([*command, *flags, "-o", str(out), str(locked)], check=True)
    content = json.loads(out.read_text(encoding="utf-8"))
    about = content["metadata"]["component"]
    print(f"{out}: {about['name']} {about['version']} and {len(content['components'])} components")


def audit(locked: Path, services: Sequence[str] = SERVICES) -> int:
    """Ask one service after the other until one knows all packages; the exit code."""
    explained = explained_ids((ROOT / "SECURITY.md").read_text(encoding="utf-8"))
    for service in services:
        flags = [
            "--disable-pip",
            "--no-deps",
            "--progress-spinner",
            "off",
            "-f",
            "json",
            "-s",
            service,
            "--timeout",
            "15",
        ]
        done = subprocess.run(
            [_tool("pip-audit"), *flags, "-r", str(locked)], capture_output=True, text=True, check=False
        )
        try:
            found = Audit.read(service, json.loads(done.stdout))
        except (ValueError, KeyError):
            print(f"{service}: no answer: {(done.stderr.strip().splitlines() or ['nothing was printed'])[-1][:300]}")
            continue
        known = sum("==" in line for line in locked.read_text(encoding="utf-8").splitlines()) - len(found.unknown)
        print(f"{service}: asked about {known} packages, not about {len(found.unknown)}")
        new = found.unexplained(explained)
        for line in new:
            print(f"  vulnerable: {line}")
        if new:
            return FOUND
        if not found.unknown:
            print(f"no vulnerabilities but {len(explained)} explained in SECURITY.md")
            return 0
    print("NOT AUDITED: no service could be asked about all packages. Run it again where one can be reached.")
    return NOT_KNOWN


def _tool(name: str) -> str:
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.is_file() else shutil.which(name)
    if found is None:
        raise SystemExit(f"{name} is not installed: pip install '.[release]'")
    return found


def main() -> int:
    """Write the bill of materials, or audit; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["sbom", "audit"])
    parser.add_argument("--out", type=Path, default=ROOT / "dist" / "lem_models-sbom.cdx.json", help="file of the sbom")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        locked = Path(folder) / "requirements.txt"
        lock(locked)
        if given.what == "audit":
            return audit(locked)
        sbom(locked, given.out)
        return 0


if __name__ == "__main__":
    sys.exit(main())
