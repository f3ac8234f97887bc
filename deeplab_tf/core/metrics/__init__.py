"""Scores: NumPy only."""

from typing import Optional

import numpy as np


def none_if_nan(value) -> Optional[float]:
    """Return a score as a float, or None where it is undefined (NaN)."""
    return None if np.isnan(value) else float(value)


def mean_of_defined(values: np.ndarray) -> float:
    """Return the mean of the values that are not NaN; NaN if all are."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else float("nan")
