"""Solvers: agents that are given the equations, to measure what a value is worth against its exact solution."""

from hjbbench.registry import import_modules

import_modules(__name__)
