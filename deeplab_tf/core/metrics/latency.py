"""Statistics of latencies: percentiles, and whether a program has warmed up."""

from typing import Dict, Sequence

import numpy as np

PERCENTILES = (50, 90, 99)


def percentiles(milliseconds: Sequence[float]) -> Dict[str, float]:
    """Return the percentiles "p50", "p90" and "p99", interpolated linearly; NaN if there are no times."""
    if not len(milliseconds):
        return {f"p{share}": float("nan") for share in PERCENTILES}
    values = np.percentile(np.asarray(milliseconds, np.float64), PERCENTILES)
    return {f"p{share}": float(value) for share, value in zip(PERCENTILES, values)}


def is_stable(milliseconds: Sequence[float], *, window: int = 5, tolerance: float = 0.05) -> bool:
    """Return whether the median of the last `window` times is within `tolerance` of that of the `window` before."""
    if len(milliseconds) < 2 * window:
        return False
    before, after = (float(np.median(part)) for part in (milliseconds[-2 * window : -window], milliseconds[-window:]))
    return abs(after - before) <= tolerance * before
