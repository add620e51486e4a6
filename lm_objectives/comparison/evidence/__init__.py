"""What the runs of a study show: numbers over seeds, their statistics, and the claims that they decide."""
