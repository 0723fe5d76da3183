"""What each depth of a network knows: prediction depth (Baldock et al. 2021) and MASC probes (Ketha & Ramaswamy)."""
