"""The app: one order over the sample or an uploaded file, beside baselines, in a browser (extra ``app``)."""

from lem_models.app.server import launch

__all__ = ["launch"]
