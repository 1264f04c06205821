"""Kernels that a wheel brings: taken where nothing can be compiled, for the instructions that the processor has."""

import logging
import re
import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from lem_models.modeling.kernels import build, library
from lem_models.modeling.kernels.library import kernels
from lem_models.modeling.layers.tkan import TKAN
from tests.modeling.compiled import need_kernels
from tests.modeling.plain_tkan import plain_loop

QUICK = ("-std=c++17", "-O1", "-fPIC")
LOWEST = "x86-64-v2"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library of the lowest level, as the wheel's but quickly built."""
    need_kernels()
    if not build.LEVELS[LOWEST] <= build.processor_flags():
        pytest.skip("wheels bring kernels for Linux on x86-64 only")
    path = tmp_path_factory.mktemp("wheel") / "made.so"
    flags = (*QUICK, *build.BUNDLE_FLAGS, f"-march={LOWEST}")
    build.compile_library(build.find_compiler(), flags, "f32", build.BUNDLE_LINK_FLAGS, path)
    return path


@pytest.fixture
def bundled(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The installed library; no compiler is on the path, and nothing is in the cache."""
    folder = tmp_path / "bundled"
    folder.mkdir()
    monkeypatch.setattr(library, "BUNDLED", folder)
    monkeypatch.setenv("LEM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    kernels.cache_clear()
    yield Path(shutil.copy(made, folder / build.bundled_name(LOWEST, "f32")))
    kernels.cache_clear()


def test_without_a_compiler_it_serves_and_its_numbers_are_those_of_the_plain_loop(
    bundled: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.manual_seed(0)
    tkan, x = TKAN(7, 9), torch.randn(5, 12, 7)
    with caplog.at_level(logging.INFO, "lem_models"):
        output, _ = tkan(x)
    loaded = kernels()
    assert loaded is not None
    assert loaded.path == bundled
    assert [record.levelno for record in caplog.records] == [logging.INFO]
    assert bundled.name in caplog.text
    torch.testing.assert_close(output, plain_loop(tkan, x)[0], rtol=0.0, atol=2e-6)


def test_gradients_are_those_of_the_eager_code(bundled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    tkan, x = TKAN(7, 9), torch.randn(5, 12, 7)
    ours = torch.autograd.grad(tkan(x)[0].square().sum(), list(tkan.parameters()))
    monkeypatch.setenv("LEM_KERNELS", "0")
    kernels.cache_clear()
    eager = torch.autograd.grad(tkan(x)[0].square().sum(), list(tkan.parameters()))
    torch.testing.assert_close(ours, eager, rtol=1e-4, atol=1e-5)


def test_it_can_be_chosen_where_there_is_a_compiler(bundled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(library, "BUNDLED", bundled.parent)
    monkeypatch.setenv("LEM_CACHE", str(bundled.parent / "cache"))
    monkeypatch.setenv("LEM_KERNELS", "bundled")
    loaded = kernels()
    assert loaded is not None
    assert loaded.path == bundled
    assert not (bundled.parent / "cache").exists()


def test_a_compiler_that_fails_is_reported_and_it_serves(
    bundled: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with caplog.at_level(logging.WARNING, "lem_models"):
        loaded = kernels()
    assert loaded is not None
    assert loaded.path == bundled
    assert "the kernels of the wheel serve" in caplog.text
    assert "no-such-compiler" in caplog.text


@pytest.mark.parametrize("why", ["an older processor", "other sources", "another type", "damaged"])
def test_where_none_fits_there_is_a_warning_and_the_eager_code(
    bundled: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, why: str
) -> None:
    dtype = torch.float64 if why == "another type" else torch.float32
    if why == "an older processor":
        monkeypatch.setattr(library, "processor_flags", lambda: build.LEVELS[LOWEST] - {"sse4_2"})
    elif why == "other sources":
        bundled.rename(bundled.with_name(f"{LOWEST}-f32-{'0' * 16}.so"))
    elif why == "damaged":
        bundled.write_bytes(b"no library")
    with caplog.at_level(logging.WARNING, "lem_models"):
        assert kernels(dtype) is None
        assert kernels(dtype) is None
    (message,) = [record.getMessage() for record in caplog.records]
    assert "there is no C++ compiler; " in message
    assert ("file too short" if why == "damaged" else "no compiled kernels for this processor") in message
    tkan, x = TKAN(5, 4).to(dtype), torch.randn(3, 6, 5, dtype=dtype)
    torch.testing.assert_close(tkan(x)[0], plain_loop(tkan, x)[0])


def test_the_highest_level_that_the_processor_has_is_taken(bundled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for level in build.LEVELS:
        path = bundled.parent / build.bundled_name(level, "f32")
        if path != bundled:
            shutil.copy(bundled, path)
    for level, flags in build.LEVELS.items():
        monkeypatch.setattr(library, "processor_flags", lambda flags=flags: flags)
        assert library._bundled(torch.float32).path.name == build.bundled_name(level, "f32")


def test_a_level_has_the_instructions_of_every_lower_one() -> None:
    levels = list(build.LEVELS.values())
    assert all(lower < higher for higher, lower in pairwise(levels))


def test_a_library_of_the_lowest_level_has_no_later_instructions(made: Path) -> None:
    if shutil.which("objdump") is None:
        pytest.skip("there is no objdump")
    listing = build.output(["objdump", "-d", "--no-show-raw-insn", str(made)])
    assert "xmm" in listing
    assert not re.search(r"%[yz]mm|\tv[a-z]+ps|\tvf", listing)


def test_a_library_needs_the_c_library_alone(made: Path) -> None:
    if shutil.which("readelf") is None:
        pytest.skip("there is no readelf")
    listing = build.output(["readelf", "-d", str(made)])
    assert set(re.findall(r"NEEDED.*\[(.+)\]", listing)) <= {"libc.so.6", "libm.so.6"}
