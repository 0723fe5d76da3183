"""Second-split forgetting (paper §6.1)."""
