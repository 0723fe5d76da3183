"""How often the intervals over trainings hold the truth, by simulation."""
