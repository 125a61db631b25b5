"""Torture: kills, lost nodes, full disks and nonsense, each against its figure. ``make torture`` runs the lot."""
