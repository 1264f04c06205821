"""Why a model decided as it did: see :mod:`lem_models.evaluation.explain.explanation`."""
