"""The task families: one file each, registered on import here and with Gymnasium as "hjbbench/<family>-<name>"."""

import gymnasium

from hjbbench.registry import TASKS, import_modules

import_modules(__name__)

for task in TASKS.values():
    gymnasium.register(
        id=f"hjbbench/{task.name.replace('/', '-')}-v{task.version}",
        entry_point=task.make,  # has its own time limit
        order_enforce=False,
        disable_env_checker=True,
    )
