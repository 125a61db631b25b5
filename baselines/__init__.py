"""The baseline zoo: one file per agent, registered on import."""

from hjbbench.registry import import_modules

import_modules(__name__)
