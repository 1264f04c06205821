"""The compiled kernels: exact for every shape and type, and never in the way where they cannot be built."""

import logging
import os
import re
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lem_models.modeling.kernels import library
from lem_models.modeling.kernels.library import kernels
from lem_models.modeling.layers.tkan import TKAN
from tests.modeling.compiled import need_kernels
from tests.modeling.plain_tkan import plain_loop


@pytest.fixture
def compiled() -> None:
    need_kernels()


QUICK = ("-std=c++17", "-O1", "-fPIC")  # without optimisation, what only the other type needs would not be left out


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache folder, and nothing loaded yet; builds are quick ones."""
    need_kernels()
    monkeypatch.setattr(library, "FLAGS", QUICK)
    monkeypatch.setenv("LEM_CACHE", str(tmp_path / "cache"))
    kernels.cache_clear()
    yield tmp_path / "cache" / "kernels"
    kernels.cache_clear()


@pytest.fixture(scope="module")
def one_build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library, built quickly."""
    need_kernels()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(library, "FLAGS", QUICK)
        patch.setenv("LEM_CACHE", str(tmp_path_factory.mktemp("kernels") / "cache"))
        return library._built(torch.float32)


@pytest.fixture
def quick_compiler(one_build: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library that the compiler would make is copied, for tests of when it is made and where it is put."""
    monkeypatch.setattr(library, "compile_library", lambda *arguments: shutil.copyfile(one_build, arguments[-1]))


@pytest.fixture
def built(fresh: Path, one_build: Path) -> Path:
    """That library in the cache folder, not loaded yet."""
    fresh.mkdir(parents=True, mode=0o700)
    fresh.parent.chmod(0o700)
    return Path(shutil.copy2(one_build, fresh / one_build.name))


def network(features: int, hidden: int, layers: int = 1, seed: int = 0) -> TKAN:
    """A network in double precision with all weights random."""
    made = TKAN(features, hidden, layers).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in made.parameters():
            size = 0.5 / parameter.shape[0] ** 0.5 if parameter.ndim > 1 else 0.5
            parameter.copy_(size * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return made


def inputs(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gradients(output: Tensor, wanted: list[Tensor]) -> list[Tensor]:
    weights = inputs(*output.shape, seed=2).to(output)
    return list(torch.autograd.grad((weights * output).sum(), wanted, materialize_grads=True))


# Around the widths of vectors and panels, the rows of a block and of a tile: every remainder occurs.
SHAPES = [
    (1, 1, 1, 1),
    (2, 3, 5, 7),
    (7, 4, 16, 9),
    (9, 3, 17, 33),
    (33, 2, 31, 32),
    (65, 3, 40, 24),
    (12, 5, 70, 66),
]


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize(("batch", "time", "features", "hidden"), SHAPES)
@pytest.mark.parametrize("threads", [1, 3])
def test_every_shape_equals_the_plain_loop(batch: int, time: int, features: int, hidden: int, threads: int) -> None:
    tkan, x = network(features, hidden), inputs(batch, time, features).requires_grad_()
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        output = tkan(x)[0]
        ours = gradients(output, [x, *tkan.parameters()])
    finally:
        torch.set_num_threads(before)
    expected = plain_loop(tkan, x)[0]
    torch.testing.assert_close(output, expected)
    torch.testing.assert_close(ours, gradients(expected, [x, *tkan.parameters()]))


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-6), (torch.bfloat16, 2e-2)])
def test_lower_precision_is_near_the_double_one(dtype: torch.dtype, tolerance: float) -> None:
    tkan, x = network(20, 24, 2), inputs(6, 40, 20)
    single = network(20, 24, 2).to(dtype)
    output, state = single(x.to(dtype))
    assert output.dtype == state[0].c.dtype == state[1].s.dtype == dtype
    torch.testing.assert_close(output.double(), tkan(x)[0], rtol=0.0, atol=tolerance)
    ours, exact = gradients(output, list(single.parameters())), gradients(tkan(x)[0], list(tkan.parameters()))
    for mine, theirs in zip(ours, exact, strict=True):
        assert (mine.double() - theirs).norm() <= 10 * tolerance * theirs.norm()


@pytest.mark.usefixtures("compiled")
def test_under_autocast_the_recurrence_stays_in_single_precision() -> None:
    tkan, x = network(8, 8).float(), inputs(4, 30, 8).float()
    with torch.autocast("cpu", torch.bfloat16):
        output, _ = tkan(x)
    torch.testing.assert_close(output, tkan(x)[0], rtol=0.0, atol=0.0)


@pytest.mark.usefixtures("compiled")
def test_under_autocast_the_backward_pass_stays_in_single_precision() -> None:
    tkan, x = network(8, 8).float(), inputs(4, 30, 8).float().requires_grad_()
    expected = gradients(tkan(x)[0], [x, *tkan.parameters()])
    with torch.autocast("cpu", torch.bfloat16):
        ours = gradients(tkan(x)[0], [x, *tkan.parameters()])
    assert all(map(torch.equal, ours, expected))


@pytest.mark.usefixtures("compiled")
def test_with_and_without_gradients_the_bits_are_the_same() -> None:
    tkan, x = network(13, 11, 2).float(), inputs(5, 20, 13).float()
    with torch.no_grad():
        output, state = tkan(x)
    with_gradients, kept = tkan(x)
    assert torch.equal(output, with_gradients)
    for mine, theirs in zip(state, kept, strict=True):
        assert all(map(torch.equal, mine, theirs))


@pytest.mark.usefixtures("compiled")
def test_the_recurrence_of_a_sequence_has_the_same_bits_in_any_batch_on_any_number_of_threads() -> None:
    tkan, x = network(20, 24).float(), inputs(50, 12, 20).float()
    x[:] = x[:1]  # every sequence the same: whatever its place in tile and block, so must be its result
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            output, _ = tkan(x)
            assert torch.equal(output, output[:1].expand_as(output))
    finally:
        torch.set_num_threads(before)


@pytest.mark.usefixtures("compiled")
def test_a_graph_can_be_gone_through_twice() -> None:
    tkan, x = network(5, 4, 2), inputs(3, 6, 5).requires_grad_()
    loss = tkan(x)[0].square().sum()
    first = torch.autograd.grad(loss, [x, *tkan.parameters()], retain_graph=True)
    assert all(map(torch.equal, first, torch.autograd.grad(loss, [x, *tkan.parameters()])))


@pytest.mark.usefixtures("compiled")
def test_frozen_weights_and_inputs_without_gradient() -> None:
    tkan, x = network(5, 4), inputs(3, 6, 5)
    cell = tkan.cells[0]
    expected = gradients(tkan(x)[0], list(tkan.parameters()))
    for name, parameter in tkan.named_parameters():
        parameter.requires_grad_("kernel" in name)
    wanted = [parameter for parameter in tkan.parameters() if parameter.requires_grad]
    kept = [g for g, (name, _) in zip(expected, tkan.named_parameters(), strict=True) if "kernel" in name]
    torch.testing.assert_close(gradients(tkan(x)[0], wanted), kept)
    assert cell.bias.grad is None


@pytest.mark.usefixtures("compiled")
def test_a_missing_number_stays_missing() -> None:
    tkan, x = network(5, 4).float(), inputs(3, 6, 5).float()
    x[1, 2, 0] = torch.nan
    output, _ = tkan(x)
    assert output[1, 2:].isnan().all()
    assert output[1, :2].isfinite().all()
    assert output[0].isfinite().all()


@pytest.mark.usefixtures("compiled")
def test_extreme_gates_saturate() -> None:
    tkan = network(3, 4).float()
    with torch.no_grad():
        tkan.cells[0].bias.copy_(torch.tensor([1e4] * 4 + [-1e4] * 4 + [1e4] * 4))
        tkan.cells[0].output_bias.fill_(1e4)
    output, state = tkan(torch.zeros(2, 5, 3))
    torch.testing.assert_close(state[0].c, torch.full((2, 4), torch.tanh(torch.tensor(1.0)).item()))
    torch.testing.assert_close(output[:, -1], torch.tanh(state[0].c))


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize(
    "wrong",
    [
        torch.zeros(2, 3, dtype=torch.float32),
        torch.zeros(3, 2, dtype=torch.float64).t(),
        torch.zeros(2, 3, dtype=torch.float64, device="meta"),
    ],
)
def test_a_kernel_refuses_what_it_would_misread(wrong: Tensor) -> None:
    rows, vector = torch.zeros(2, 3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    phi = torch.zeros(2, 21, dtype=torch.float64)
    library.call("expand_rows", rows, vector, vector, phi, 2, 3, 6, -3.0, 0.5, 1e-3)
    with pytest.raises(TypeError, match="expand_rows takes plain contiguous"):
        library.call("expand_rows", rows, vector, vector, wrong, 2, 3, 6, -3.0, 0.5, 1e-3)


@pytest.mark.usefixtures("compiled")
def test_a_kernel_of_no_sequences_does_nothing() -> None:
    steps, width = 4, 3
    none, weights = torch.zeros(0), torch.zeros(width, 3 * width)
    library.call("cell_forward", none, none, weights, none, none, none, none, None, None, steps, 0, width)


@pytest.mark.usefixtures("compiled")
def test_tensors_without_numbers_go_through_the_eager_code() -> None:
    from torch._subclasses import FakeTensorMode

    with FakeTensorMode():
        output, _ = TKAN(5, 4)(torch.zeros(2, 3, 5))
    assert output.shape == (2, 3, 4)


@pytest.mark.usefixtures("compiled")
@pytest.mark.filterwarnings("ignore:.*TracerWarning", "ignore:.*torch.jit", "ignore:Converting a tensor")
def test_a_trace_holds_the_network_and_not_its_numbers() -> None:
    class Outputs(torch.nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            output: Tensor = self[0](x)[0]
            return output

    tkan, x = network(5, 4), inputs(3, 6, 5)
    with torch.no_grad():
        traced = torch.jit.trace(Outputs(tkan), (x,), check_trace=False)
        other = inputs(3, 6, 5, seed=9)
        torch.testing.assert_close(traced(other), tkan(other)[0])


@pytest.mark.usefixtures("compiled")
def test_a_compiled_network_is_the_same_without_warnings(recwarn: pytest.WarningsRecorder) -> None:
    tkan, x = network(5, 4), inputs(3, 6, 5)
    output, _ = torch.compile(tkan, backend="eager")(x)
    assert not [str(warning.message) for warning in recwarn if "Dynamo" in str(warning.message)]
    torch.testing.assert_close(output, tkan(x)[0])


def test_the_library_is_built_once_with_an_announcement_and_nobody_else_can_write_to_it(
    fresh: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "lem_models"):
        before = os.umask(0)
        try:
            assert kernels() is not None
        finally:
            os.umask(before)
        first, last = (record.getMessage() for record in caplog.records)
        assert first == "compiling the kernels (float32) for this processor: once, a few seconds"
        assert re.fullmatch(rf"compiled the kernels in \d+\.\d s; they stay in {re.escape(str(fresh))}", last)
        (made,) = fresh.iterdir()
        assert made.suffix == ".so"
        for path in (fresh.parent, fresh, made):
            assert path.stat().st_mode & 0o777 == 0o700
        stamp = made.stat().st_mtime_ns
        caplog.clear()
        kernels.cache_clear()
        assert kernels() is not None
        assert made.stat().st_mtime_ns == stamp
        assert not caplog.records


def test_each_type_has_a_library_with_its_own_functions(built: Path) -> None:
    single, double = kernels(torch.float32), kernels(torch.float64)
    assert single is not None
    assert double is not None
    assert single.path == built
    assert len(list(built.parent.iterdir())) == 2
    with pytest.raises(AttributeError, match="f64"):
        library.Kernels(single.path, torch.float64)
    assert kernels(torch.bfloat16) is None


def test_of_two_that_need_it_one_builds_it_and_the_other_waits(
    fresh: Path, one_build: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    builds, under_way = [], threading.Event()

    def slow(*arguments: Path) -> None:
        builds.append(arguments)
        under_way.set()
        time.sleep(0.3)
        shutil.copyfile(one_build, arguments[-1])

    monkeypatch.setattr(library, "compile_library", slow)
    with ThreadPoolExecutor() as threads:
        first = threads.submit(library._built, torch.float32)
        assert under_way.wait(60)
        assert library._built(torch.float32) == first.result()
    assert len(builds) == 1


@pytest.mark.usefixtures("quick_compiler")
def test_a_damaged_library_is_built_again(built: Path) -> None:
    built.write_bytes(b"no library")
    loaded = kernels()
    assert loaded is not None
    assert loaded.path == built
    assert built.stat().st_size > 1000


@pytest.mark.usefixtures("quick_compiler")
def test_a_library_that_others_could_have_put_there_is_not_loaded(built: Path) -> None:
    built.write_bytes(b"planted while the folder was open")
    built.chmod(0o777)
    assert library._built(torch.float32) == built
    assert built.stat().st_size > 1000
    assert not built.stat().st_mode & 0o022


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize("named", [True, False])
def test_a_user_without_a_home_folder(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, named: bool
) -> None:
    def no_home(_: type[Path]) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", classmethod(no_home))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    if not named:
        monkeypatch.delenv("LEM_CACHE")
    with caplog.at_level(logging.WARNING, "lem_models"):
        assert (kernels() is not None) == named
    assert ["set LEM_CACHE" in record.message for record in caplog.records] == [True] * (not named)


@pytest.mark.parametrize("how", ["no compiler", "broken compiler", "open folder", "half a command"])
def test_without_kernels_there_is_a_warning_and_the_eager_code(
    fresh: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    if how == "no compiler":
        monkeypatch.setenv("CXX", "no-such-compiler")
    elif how == "half a command":
        monkeypatch.setenv("CXX", "c++ '")
    elif how == "broken compiler":
        fresh.parent.mkdir(mode=0o700)
        fake = fresh.parent / "fake-compiler"
        fake.write_text("#!/bin/sh\n[ \"$1\" = --version ] && exit 0\necho 'out of cheese' >&2\nexit 1\n")
        fake.chmod(0o700)
        monkeypatch.setenv("CXX", str(fake))
    else:
        fresh.mkdir(parents=True)
        fresh.chmod(0o777)
    tkan, x = network(5, 4), inputs(3, 6, 5)
    with caplog.at_level(logging.WARNING, "lem_models"):
        output, _ = tkan(x)
        tkan(x)
    reason = {
        "no compiler": "no-such-compiler",
        "broken compiler": "out of cheese",
        "open folder": "by others",
        "half a command": "No closing quotation",
    }[how]
    refusals = [record.message for record in caplog.records if not record.message.startswith("compiling")]
    assert [reason in message for message in refusals] == [True]
    torch.testing.assert_close(output, plain_loop(tkan, x)[0])


def test_they_can_be_switched_off(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEM_KERNELS", "0")
    network(5, 4)(inputs(3, 6, 5))
    assert not fresh.exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [("_processor", lambda: "another one"), ("FLAGS", (*QUICK, "-DUNUSED"))],
    ids=["processor", "flags"],
)
@pytest.mark.usefixtures("quick_compiler")
def test_another_processor_or_other_flags_get_a_library_of_their_own(
    built: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: object
) -> None:
    assert library._built(torch.float32) == built
    monkeypatch.setattr(library, name, value)
    assert kernels() is not None
    assert len(list(built.parent.iterdir())) == 2


def test_the_compiler_may_have_options(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (compiler,) = library.find_compiler()
    monkeypatch.setenv("CXX", f"{compiler} -O1 -DUNUSED='1 2'")
    assert library.find_compiler() == [compiler, "-O1", "-DUNUSED=1 2"]
    assert kernels() is not None
