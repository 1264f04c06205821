"""Evaluation: what an execution policy is worth, with honest intervals, and how that is shown.

``statistics`` turns the orders table of a result into means with intervals from a bootstrap over calendar days,
``plots`` draws them, ``report`` writes them as one self-contained HTML file, and as CSV and JSON.
"""
