"""Check that a policy was trained on bars of the market's length. On other bars its decisions are untested."""

from __future__ import annotations

from lem_models.errors import BarsError
from lem_models.execution.policy import Policy
from lem_models.guard.text import shown
from lem_models.markets.bars import Bars
from lem_models.markets.calendar.frequency import clock, read_frequency

__all__ = ["check_frequency"]


def check_frequency(policy: Policy, bars: Bars, *, allow: bool = False, name: str | None = None) -> str | None:
    """Refuse a policy that was trained on bars of another length.

    A policy whose ``frequencies`` are ``None`` (TWAP, say) fits every market.

    Args:
        policy: The policy.
        bars: The market.
        allow: Whether the policy may run nevertheless.
        name: What to call the policy; default its own name.

    Returns:
        A note for the reader of the results; ``None`` for a policy that fits.

    Raises:
        BarsError: when the policy names its lengths of bars, and these bars have another one.
    """
    frequencies = getattr(policy, "frequencies", None)
    if frequencies is None or any(read_frequency(known) == bars.frequency for known in frequencies):
        return None
    name, length = shown(name or getattr(policy, "name", type(policy).__name__)), clock(bars.frequency)
    if not frequencies:
        return f"{name} does not record the length of the bars that it was trained on; these bars are {length} long"
    trained = f"{name} was trained on bars of {' or '.join(frequencies)}, and these bars are {length} long"
    if not allow:
        raise BarsError(
            f"{trained}: take a model for such bars (lem list), fine-tune one to them (lem finetune), or "
            "run this one nevertheless with allow_frequency=True (--any-frequency)",
            rule="a frequency that the model knows",
        )
    return f"{trained}: its decisions are untested there"
