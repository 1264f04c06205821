"""Classical policies: what a model has to beat, run by the same simulator."""

from lem_models.baselines.registry import bound_names, load_policy, policy_names

__all__ = ["bound_names", "load_policy", "policy_names"]
