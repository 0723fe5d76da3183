"""The methods that are compared, a file each; docs/instruments.md has their sources. Reading a file imports no torch."""
