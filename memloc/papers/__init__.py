"""One folder per paper: its claims as data, their estimates and their tests. Nothing here imports `report/`."""
