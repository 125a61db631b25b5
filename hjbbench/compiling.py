"""Computations as fused kernels: at the sizes here half of an update is the dispatch of small operations."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from typing import Any

import torch

COMPILE_FROM = 4000
"""Budget in decisions from which the compiler's time, up to a minute once per machine, comes back."""


def can_compile(device: torch.device) -> bool:
    """Whether the compiler's CPU back end finds the C++ compiler it needs."""
    return device.type == "cpu" and shutil.which(os.environ.get("CXX", "g++")) is not None


def pays_off(budget_steps: int, device: torch.device) -> bool:
    """Whether a run of so many decisions should compile."""
    return budget_steps >= COMPILE_FROM and can_compile(device)


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function as fused kernels; what cannot be compiled after all runs as it is.

    A function may call ``torch.autograd.grad``, and draws the numbers that it would draw uncompiled.
    """
    import torch._dynamo

    torch._dynamo.config.suppress_errors = True
    torch._dynamo.config.trace_autograd_ops = True
    return torch.compile(function, dynamic=False, options={"fallback_random": True})
