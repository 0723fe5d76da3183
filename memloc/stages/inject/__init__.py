"""Examples that are injected into chosen neurons, so that it is known where they are (docs/instruments.md)."""
