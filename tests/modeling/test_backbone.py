"""The backbone: contexts of a stretch of bars, each from its own past only."""

import copy
import math

import pytest
import torch

from lem_models.modeling.backbone import LEMBackbone
from lem_models.modeling.layers.attention import WindowedAttention
from tests.helpers import tiny_config

HIDDEN, HEADS, WINDOW = 8, 2, 4


@pytest.fixture
def attention():
    torch.manual_seed(0)
    module = WindowedAttention(HIDDEN, HEADS, WINDOW).double()
    torch.nn.init.normal_(module.distance_bias)
    return module


@pytest.fixture(params=["tkan", "gru", "lstm", "none"])
def backbone(request):
    torch.manual_seed(0)
    return LEMBackbone(tiny_config(encoder=request.param)).eval()


def _attention_by_loops(module, x):
    """The definition: per head and bar, a softmax over the last ``window`` bars."""
    query, key, value = (part.view(*x.shape[:2], HEADS, -1) for part in module.query_key_value(x).chunk(3, dim=-1))
    result = torch.zeros_like(value)
    for batch in range(x.shape[0]):
        for time in range(x.shape[1]):
            first = max(0, time - WINDOW + 1)
            for head in range(HEADS):
                scores = key[batch, first : time + 1, head] @ query[batch, time, head] / math.sqrt(HIDDEN // HEADS)
                distance = torch.arange(time - first, -1, -1)
                weights = torch.softmax(scores + module.distance_bias[head, distance], 0)
                result[batch, time, head] = weights @ value[batch, first : time + 1, head]
    return module.output(result.flatten(-2))


def test_attention_is_its_definition(attention):
    x = torch.randn(2, 9, HIDDEN, dtype=torch.float64)
    torch.testing.assert_close(attention(x), _attention_by_loops(attention, x))


def test_attention_sees_its_window_and_nothing_else(attention):
    x = torch.randn(1, 12, HIDDEN, dtype=torch.float64)
    before = attention(x)
    for changed in range(12):
        moved = x.clone()
        moved[0, changed] += 1.0
        differs = (attention(moved) != before).any(-1)[0].nonzero().flatten().tolist()
        assert differs == list(range(changed, min(changed + WINDOW, 12)))


def test_attention_does_not_depend_on_the_place_in_the_stretch(attention):
    x = torch.randn(1, 12, HIDDEN, dtype=torch.float64)
    torch.testing.assert_close(attention(x[:, 3:])[:, WINDOW - 1 :], attention(x)[:, 3 + WINDOW - 1 :])


def test_contexts_have_one_row_per_bar(backbone):
    features = torch.randn(3, 20, len(tiny_config().features))
    assert backbone(features).shape == (3, 20, 8)
    assert torch.isfinite(backbone(features * 6)).all()


@pytest.mark.parametrize("bar", [0, 5, 19])
def test_a_context_depends_on_its_own_and_earlier_bars_only(backbone, bar):
    features = torch.randn(2, 20, len(tiny_config().features))
    changed = features.clone()
    changed[:, bar:] = torch.randn_like(changed[:, bar:])
    before, after = backbone(features), backbone(changed)
    assert torch.equal(before[:, :bar], after[:, :bar])
    assert (before[:, bar:] != after[:, bar:]).any(-1).all()


def test_a_context_does_not_depend_on_the_batch(backbone):
    """In double precision: in single precision the matrix products of some processors differ by the batch."""
    double = copy.deepcopy(backbone).double()
    features = torch.randn(5, 20, len(tiny_config().features), dtype=torch.float64)
    alone = torch.cat([double(features[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(double(features), alone, atol=1e-13, rtol=0)


def test_sequences_that_share_bars_and_some_rows_of_them(backbone):
    bars = torch.randn(30, len(tiny_config().features))
    sequences = torch.tensor([0, 4, 10])[:, None] + torch.arange(20)
    expected = backbone(bars[sequences])
    torch.testing.assert_close(backbone(bars, sequences), expected, atol=1e-6, rtol=0)
    rows = torch.tensor([0, 3, 19, 20, 25, 59])
    for context in (torch.no_grad(), torch.enable_grad()):
        with context:
            chosen = backbone(bars, sequences, rows)
            torch.testing.assert_close(chosen, expected.flatten(0, 1)[rows], atol=1e-6, rtol=0)
    assert chosen.requires_grad


def test_every_weight_gets_a_gradient(backbone):
    backbone(torch.randn(2, 20, len(tiny_config().features))).square().sum().backward()
    for name, weight in backbone.named_parameters():
        assert torch.isfinite(weight.grad).all(), name
        assert weight.grad.abs().sum() > 0, name


def test_encoders_have_names_of_their_own():
    for encoder in ("tkan", "gru", "lstm", "none"):
        names = LEMBackbone(tiny_config(encoder=encoder, tkan_layers=2)).state_dict()
        found = {name.split(".")[0] for name in names} & {"tkan", "gru", "lstm"}
        assert found == ({encoder} - {"none"})


@pytest.mark.parametrize("encoder", ["tkan", "gru", "lstm", "none"])
@pytest.mark.filterwarnings("error")
def test_dropout_is_for_training_only(encoder):
    backbone = LEMBackbone(tiny_config(dropout=0.5, encoder=encoder))
    features = torch.randn(1, 10, len(tiny_config().features))
    assert not torch.equal(backbone.train()(features), backbone(features))
    assert torch.equal(backbone.eval()(features), backbone(features))


@pytest.mark.parametrize("time", [2, 4, 9])
def test_weights_of_the_last_bar_are_those_that_it_attends_with(attention, time):
    """The values, weighted by them, are what the attention gives; bars before the sequence weigh nothing."""
    x = torch.randn(3, time, HIDDEN, dtype=torch.float64)
    weights = attention.last_weights(x)
    value = attention.query_key_value(x).chunk(3, dim=-1)[2].view(3, time, HEADS, -1)
    attended = sum(weights[:, ago, :, None] * value[:, time - 1 - ago] for ago in range(min(time, WINDOW)))
    torch.testing.assert_close(attention.output(attended.reshape(3, HIDDEN)), attention(x)[:, -1])
    torch.testing.assert_close(weights.sum(1), torch.ones(3, HEADS, dtype=torch.float64))
    assert (weights[:, time:] == 0).all()
