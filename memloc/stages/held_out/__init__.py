"""What networks know of examples that they did not see (paper §7)."""
