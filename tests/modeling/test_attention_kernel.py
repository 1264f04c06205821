"""The compiled attention: the same as in chunks of torch, in value and gradient, and no bar sees a later one."""

import pytest
import torch
from torch import Tensor

from lem_models.modeling.kernels.attention import attended
from lem_models.modeling.layers.attention import WindowedAttention
from tests.modeling.compiled import need_kernels

SHAPES = [(1, 1, 1, 1, 1), (2, 3, 1, 2, 9), (3, 40, 2, 5, 7), (2, 70, 4, 8, 32), (1, 33, 3, 4, 33), (4, 128, 2, 16, 20)]
"""Sequences, time, heads, size, window."""


@pytest.fixture(autouse=True)
def compiled() -> None:
    need_kernels()


def inputs(shape: tuple[int, ...], dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    sequences, time, heads, size, window = shape
    generator = torch.Generator().manual_seed(0)
    qkv = 2 * torch.randn(sequences, time, 3, heads, size, generator=generator, dtype=torch.float64)
    bias = torch.randn(heads, window, generator=generator, dtype=torch.float64)
    return qkv.to(dtype).requires_grad_(), bias.to(dtype).requires_grad_()


def in_chunks(qkv: Tensor, bias: Tensor) -> Tensor:
    heads, window = bias.shape
    module = WindowedAttention(heads * qkv.shape[-1], heads, window)
    del module.distance_bias
    module.distance_bias = bias
    return module._in_chunks(qkv)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_equals_the_chunks_of_torch(shape: tuple[int, ...], dtype: torch.dtype, threads: int) -> None:
    qkv, bias = inputs(shape, dtype)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        ours, expected = attended(qkv, bias), in_chunks(qkv, bias)
        weights = torch.randn(ours.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
        gradients = [torch.autograd.grad((weights * values).sum(), (qkv, bias)) for values in (ours, expected)]
    finally:
        torch.set_num_threads(before)
    tolerance = {"rtol": 1e-9, "atol": 1e-9} if dtype == torch.float64 else {"rtol": 2e-4, "atol": 2e-5}
    torch.testing.assert_close(ours, expected, **tolerance)
    torch.testing.assert_close(*gradients, **tolerance)


def test_gradient() -> None:
    assert torch.autograd.gradcheck(attended, inputs((2, 7, 2, 3, 4)))


def test_threads_change_no_bit() -> None:
    qkv, bias = inputs((5, 60, 4, 8, 32), torch.float32)
    results, before = [], torch.get_num_threads()
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        out = attended(qkv, bias)
        results.append([out, *torch.autograd.grad(out.square().sum(), (qkv, bias))])
    torch.set_num_threads(before)
    for other in results[1:]:
        assert all(map(torch.equal, results[0], other))


@pytest.mark.parametrize("shape", SHAPES[2:], ids=str)
def test_some_rows_are_those_of_all_bars(shape: tuple[int, ...]) -> None:
    qkv, bias = inputs(shape, torch.float32)
    every = attended(qkv, bias).flatten(0, 1)
    rows = torch.randint(len(every), (50,), generator=torch.Generator().manual_seed(0)).sort().values
    assert torch.equal(attended(qkv, bias, rows), every[rows])
    assert attended(qkv, bias, rows[:0]).shape == (0, every.shape[1])


@pytest.mark.parametrize("later", [float("nan"), float("inf"), 1e6])
def test_no_bar_sees_a_later_one_nor_one_before_the_window(later: float) -> None:
    shape = sequences, time, _, _, window = (2, 50, 2, 5, 7)
    qkv, bias = inputs(shape, torch.float32)
    before = attended(qkv, bias)
    changed = qkv.detach().clone()
    changed[:, 20] = later
    differs = ~(attended(changed, bias) == before).all(-1)
    assert differs.nonzero()[:, 1].unique().tolist() == list(range(20, 20 + window))
    assert differs.shape == (sequences, time)


def test_what_does_not_fit_is_refused() -> None:
    qkv, bias = inputs((2, 5, 2, 3, 4))
    with pytest.raises(ValueError, match="heads"):
        attended(qkv, bias[:1])
    for rows in ([-1, 2], [3, 10], [4, 3]):
        with pytest.raises(ValueError, match="in order and of the 10 bars"):
            attended(qkv, bias, torch.tensor(rows))
