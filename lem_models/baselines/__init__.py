"""Classical policies, which a model has to beat; the same simulator runs them. Importing this room registers them."""

from lem_models.baselines.almgren_chriss import AlmgrenChriss
from lem_models.baselines.dynamic_volume_curve import DynamicVolumeCurve
from lem_models.baselines.kalman_volume import KalmanVolume
from lem_models.baselines.longstaff_schwartz import LongstaffSchwartz, LongstaffSchwartzNet
from lem_models.baselines.oracle_vwap import OracleVWAP
from lem_models.baselines.pov import POV
from lem_models.baselines.registry import list_policies, load_policy, register_policy
from lem_models.baselines.stopping_rule import StoppingRule
from lem_models.baselines.tracking.backloaded_curve import BackloadedCurve
from lem_models.baselines.tracking.convex import ConvexPolicy
from lem_models.baselines.twap import TWAP
from lem_models.baselines.volume_curve import VolumeCurve

__all__ = [
    "POV",
    "TWAP",
    "AlmgrenChriss",
    "BackloadedCurve",
    "ConvexPolicy",
    "DynamicVolumeCurve",
    "KalmanVolume",
    "LongstaffSchwartz",
    "LongstaffSchwartzNet",
    "OracleVWAP",
    "StoppingRule",
    "VolumeCurve",
    "list_policies",
    "load_policy",
    "register_policy",
]
