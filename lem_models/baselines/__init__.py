"""Classical policies: what a model has to beat, run by the same simulator."""

from lem_models.baselines.registry import load_policy, policy_names

__all__ = ["load_policy", "policy_names"]
