"""Convergence speed and policy smoothness of continuous-time reinforcement learning, measured by one harness."""

__version__ = "0.1.0"
