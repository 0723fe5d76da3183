"""A small vision transformer, by patches or by shifted patches with locality attention."""
