"""The TKAN layer: compiled kernels and eager loops against the plain loop, and the conventions it shares with LSTM."""

from collections.abc import Iterable, Iterator, Sequence

import pytest
import torch
from torch import Tensor, nn

from lem_models.errors import ConfigError
from lem_models.modeling.kernels.library import kernels
from lem_models.modeling.layers.tkan import TKAN, TKANCell, TKANState
from tests.modeling.compiled import need_kernels
from tests.modeling.plain_tkan import cells, plain_loop


@pytest.fixture(autouse=True, params=["compiled", "eager"])
def back_end(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Every test is done with the kernels and with the eager loops."""
    if request.param == "compiled":
        need_kernels()
        yield request.param
    else:
        monkeypatch.setenv("LEM_KERNELS", "0")
        kernels.cache_clear()
        yield request.param
        kernels.cache_clear()


def sequences(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def tkan(*sizes: int, seed: int = 0, **settings: object) -> TKAN:
    """A network in double precision with every weight random, so that biases and gains matter too."""
    network = TKAN(*sizes, **settings).double()  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return network


def assert_same_states(ours: Sequence[TKANState], theirs: Sequence[TKANState]) -> None:
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine._asdict(), other._asdict())


@pytest.mark.parametrize("num_layers", [1, 3])
def test_equals_the_plain_loop(num_layers: int) -> None:
    network, x = tkan(5, 4, num_layers), sequences(3, 9, 5)
    output, state = network(x)
    expected, states = plain_loop(network, x)
    torch.testing.assert_close(output, expected)
    assert_same_states(state, states)


@pytest.mark.parametrize("num_layers", [1, 3])
def test_gradients_equal_those_of_the_plain_loop(num_layers: int) -> None:
    network = tkan(5, 4, num_layers)
    ours, theirs = (sequences(3, 9, 5).requires_grad_() for _ in range(2))

    def gradients(result: tuple[Tensor, Iterable[TKANState]], x: Tensor) -> list[Tensor]:
        output, states = result
        loss = output.square().sum() + sum(values.pow(3).sum() for state in states for values in state)
        return list(torch.autograd.grad(loss, [x, *network.parameters()]))

    torch.testing.assert_close(gradients(network(ours), ours), gradients(plain_loop(network, theirs), theirs))


@pytest.mark.parametrize("num_layers", [1, 2])
def test_gradient(num_layers: int) -> None:
    network = tkan(3, 2, num_layers)
    names = [name for name, _ in network.named_parameters()]
    states = tuple(
        TKANState(sequences(2, 2, seed=1), sequences(2, 2, seed=2), sequences(2, 1, size, seed=3))
        for size in (3, 2)[:num_layers]
    )
    flat = [values.requires_grad_() for state in states for values in state]

    def outputs(x: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        carried = [TKANState(*rest[3 * layer : 3 * layer + 3]) for layer in range(num_layers)]
        parameters = dict(zip(names, rest[len(flat) :], strict=True))
        output, after = torch.func.functional_call(network, parameters, (x, carried))
        return output, *(values for state in after for values in state)

    # Every element where there are few, a random projection of all of them where there are many.
    arguments = (sequences(2, 3, 3).requires_grad_(), *flat, *network.parameters())
    assert torch.autograd.gradcheck(outputs, arguments, fast_mode=num_layers > 1)


@pytest.mark.parametrize("split", [1, 4, 8])
@pytest.mark.parametrize("num_layers", [1, 3])
def test_a_sequence_in_two_pieces_equals_the_whole(num_layers: int, split: int) -> None:
    network, x = tkan(5, 4, num_layers), sequences(3, 9, 5)
    output, state = network(x)
    first, carried = network(x[:, :split])
    second, after = network(x[:, split:], carried)
    torch.testing.assert_close(torch.cat([first, second], dim=1), output)
    assert_same_states(after, state)


def test_cell_by_cell_equals_the_sequence() -> None:
    network, x = tkan(5, 4), sequences(3, 9, 5)
    cell, state, outputs = cells(network)[0], None, []
    for step in x.unbind(1):
        output, state = cell(step, state)
        outputs.append(output)
    expected, after = network(x)
    torch.testing.assert_close(torch.stack(outputs, dim=1), expected)
    assert state is not None
    assert_same_states((state,), after)


def test_a_sequence_does_not_see_the_rest_of_its_batch() -> None:
    network, x = tkan(5, 4, 2), sequences(6, 9, 5)
    output, _ = network(x)
    for row in range(6):
        alone, _ = network(x[row : row + 1])
        torch.testing.assert_close(alone[0], output[row])


@pytest.mark.parametrize("k", [0, 1, 5, 8])
def test_the_past_does_not_see_the_future(k: int) -> None:
    network, x = tkan(5, 4, 2), sequences(3, 9, 5)
    changed = x.clone()
    changed[:, k:] = sequences(3, 9 - k, 5, seed=9)
    assert torch.equal(network(changed)[0][:, :k], network(x)[0][:, :k])


def test_conventions_are_those_of_lstm() -> None:
    x = sequences(4, 7, 5)
    network, lstm = tkan(5, 8, 2), nn.LSTM(5, 8, 2, batch_first=True).double()
    output, state = network(x)
    expected, (h, c) = lstm(x)
    assert output.shape == expected.shape == (4, 7, 8)
    assert torch.stack([layer.h for layer in state]).shape == h.shape
    assert torch.stack([layer.c for layer in state]).shape == c.shape
    assert [layer.s.shape for layer in state] == [(4, 1, 5), (4, 1, 8)]
    assert torch.equal(output[:, -1], state[-1].h)
    time_first = tkan(5, 8, 2, batch_first=False)
    torch.testing.assert_close(time_first(x.transpose(0, 1))[0], output.transpose(0, 1))


def test_zero_state_is_the_default() -> None:
    network, x = tkan(5, 4), sequences(3, 2, 5)
    zeros = TKANState(x.new_zeros(3, 4), x.new_zeros(3, 4), x.new_zeros(3, 1, 5))
    assert torch.equal(network(x, (zeros,))[0], network(x)[0])


def test_dropout_acts_between_layers_in_training_only() -> None:
    network, x = tkan(5, 4, 2, dropout=0.5), sequences(3, 6, 5)
    torch.manual_seed(0)
    assert not torch.equal(network(x)[0], network(x)[0])
    network.eval()
    torch.testing.assert_close(network(x)[0], tkan(5, 4, 2)(x)[0])


def test_a_new_network_remembers_at_several_time_scales() -> None:
    cell = TKANCell(9, 4)
    assert torch.equal(cell.bias[4:8], torch.ones(4))
    assert cell.sub_memory_gain.min() > 0.0
    assert cell.sub_memory_gain.max() < 1.0
    torch.testing.assert_close(cell.sub_memory_gain + cell.sub_output_gain, torch.ones(1, 9))
    for kernel in cell.recurrent_kernel.chunk(3, dim=1):
        torch.testing.assert_close(kernel @ kernel.t(), torch.eye(4))


def test_long_sequences_stay_bounded() -> None:
    torch.manual_seed(0)
    network = TKAN(5, 4)
    output, state = network(100.0 * sequences(2, 2000, 5).float())
    assert output.isfinite().all()
    assert state[0].s.abs().max() < 10.0


@pytest.mark.parametrize("shape", [(7, 5), (2, 7, 4), (2, 0, 5), (0, 7, 5)])
def test_an_input_that_does_not_fit_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match=r"x must be \[batch, time, 5\] and not empty"):
        TKAN(5, 4)(torch.zeros(shape))


def test_a_state_for_another_number_of_layers_is_refused() -> None:
    network = TKAN(5, 4)
    _, state = network(torch.zeros(2, 3, 5))
    with pytest.raises(ConfigError, match="one TKANState for each of 1 layers, got 2"):
        network(torch.zeros(2, 3, 5), (*state, *state))


@pytest.mark.parametrize("name", ["h", "c", "s"])
@pytest.mark.parametrize("sizes", [(1,), (3,), (2, 9)])
def test_a_state_of_other_sizes_is_refused(name: str, sizes: tuple[int, ...]) -> None:
    network = TKAN(5, 4)
    _, (state,) = network(torch.zeros(2, 3, 5))
    wrong = state._replace(**{name: torch.zeros(*sizes, *getattr(state, name).shape[len(sizes) :])})
    with pytest.raises(ConfigError, match=rf"state.{name} must be \[2, "):
        network(torch.zeros(2, 3, 5), [wrong])


def test_a_state_on_another_device_is_refused() -> None:
    network = TKAN(5, 4)
    _, (state,) = network(torch.zeros(2, 3, 5))
    with pytest.raises(ConfigError, match=r"state.c must be \[2, 4\] on cpu, got \[2, 4\] on meta"):
        network(torch.zeros(2, 3, 5), [state._replace(c=state.c.to("meta"))])


@pytest.mark.parametrize("shape", [(3, 5), (3, 0, 5), (0, 3, 5), (3, 2, 4)])
def test_a_layer_refuses_an_input_that_does_not_fit(shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match=r"x must be \[time, batch, 5\] and not empty"):
        TKANCell(5, 4).sequence(torch.zeros(shape))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"input_size": 0}, "input_size and hidden_size must be at least 1"),
        ({"num_layers": 0}, "num_layers must be at least 1"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\)"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TKAN(**{"input_size": 5, "hidden_size": 4, **settings})  # type: ignore[arg-type]
