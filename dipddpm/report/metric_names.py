"""What a metric is called in tables, sentences and figures."""

from __future__ import annotations


def metric_name(metric: str) -> str:
    """``ST-LPIPS`` for ``st_lpips``."""
    return metric.upper().replace("_", "-")
