"""What is measured of one run: its convergence, its smoothness, its value error."""
