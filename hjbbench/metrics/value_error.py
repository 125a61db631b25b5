"""How far a learned value is from the exact one."""

from __future__ import annotations

import numpy as np


def relative_l2(estimate: np.ndarray, exact: np.ndarray) -> float:
    """Relative L2 error |estimate - exact| / |exact| over a sample of states, both of shape (n,)."""
    return float(np.linalg.norm(estimate - exact) / np.linalg.norm(exact))
