"""The task families: one file each, registered on import here."""

from hjbbench.registry import import_modules

import_modules(__name__)
