"""Which examples and classes single units answer to (Wang et al. 2024): descriptive."""
