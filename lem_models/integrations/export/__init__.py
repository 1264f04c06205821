"""The live step of a model as one graph, for other runtimes; see docs/export.md."""

from lem_models.integrations.export.export import export_model, layout_of

__all__ = ["export_model", "layout_of"]
