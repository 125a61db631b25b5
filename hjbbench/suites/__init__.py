"""Suites: which tasks, agents, seeds and budgets belong together, each a TOML file beside this one."""
