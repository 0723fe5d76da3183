"""Layer rewinding: one group's weights from an earlier epoch (paper §5.1)."""
