"""What many runs say together: intervals, times to a target, comparisons."""
