"""One folder per paper: its claims as data, their estimates, and what judges them. Nothing here imports `report/`."""
