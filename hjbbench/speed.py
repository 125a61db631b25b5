"""How fast the machine was while a run went on: wall-clock times say little without it.

One and the same machine record has been seen to train at half its speed for hours, since neighbours load it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

SIZE, PRODUCTS = 256, 30
"""One gigaflop of matrix products as training consists of them: 10 to 30 ms on one core."""
ALIKE = 1.25
"""Ratio of speeds up to which wall-clock times compare."""


def speed_gflops() -> float:
    """Billions of floating-point operations per second that matrix products get at the moment, on a run's threads."""
    import torch

    matrix = torch.full((SIZE, SIZE), 1.0 / SIZE)  # a mean over rows: its powers neither grow nor vanish
    power = matrix @ matrix
    began = time.perf_counter()
    for _ in range(PRODUCTS):
        power = power @ matrix
    return 2e-9 * PRODUCTS * SIZE**3 / (time.perf_counter() - began)


def why_times_differ(records: Sequence[Mapping[str, Any]]) -> str:
    """Why wall-clock times of runs, given by their run.json, do not compare; empty where they do."""
    machines = {json.dumps(record["machine"], sort_keys=True) for record in records}
    if len(machines) > 1:
        return f"the runs come from {len(machines)} different machines"
    speeds = [speed for record in records if (speed := record.get("speed_gflops"))]
    if unknown := len(records) - len(speeds):
        return f"how fast the machine was is not recorded for {unknown} of {len(records)} runs"
    if max(speeds) > ALIKE * min(speeds):
        return f"the machine was between {min(speeds):.0f} and {max(speeds):.0f} GFLOP/s fast"
    return ""
