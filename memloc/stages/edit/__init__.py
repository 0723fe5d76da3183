"""Curvature edit: weights without the directions of little curvature (Merullo et al., 2025)."""
