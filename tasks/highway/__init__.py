"""What the lane change is made of: imported when the task is made, so that listing tasks does not load highway-env."""
