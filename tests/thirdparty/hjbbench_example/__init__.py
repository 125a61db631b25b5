"""An example of tasks and agents outside hjbbench."""
