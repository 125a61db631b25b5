"""Oracle tasks: problems whose Hamilton-Jacobi-Bellman equation has an exact solution; one file per family."""

from hjbbench.registry import import_modules

import_modules(__name__)
