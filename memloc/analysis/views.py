"""Views that a query may use beside the tables: derived quantities of science that nobody should have to retype."""

from __future__ import annotations

# Per layer group (science.md, Gradient accounting): norm = mean over its tensors of ‖g‖/√numel; cosine of the concatenated
# gradient, between clean and noisy, and between a random subset as large as the noisy one and the rest, for comparison:
# ‖g_rest‖² = ‖g_c + g_n − g_control‖² = ‖g_c‖² + ‖g_n‖² + 2⟨g_c, g_n⟩ − ‖g_control‖² − 2⟨g_control, g_rest⟩.
GRADIENT_LAYERS = """
SELECT analysis, trial, epoch, layer,
       avg(sqrt(sq_clean / numel)) AS norm_clean,
       avg(sqrt(sq_noisy / numel)) AS norm_noisy,
       avg(sqrt(sq_control / numel)) AS norm_control,
       avg(sqrt(greatest(0, coalesce(sq_clean, 0) + coalesce(sq_noisy, 0) + 2 * coalesce(dot, 0)) / numel)) AS norm_total,
       sum(dot) / nullif(sqrt(sum(sq_clean) * sum(sq_noisy)), 0) AS cosine,
       sum(dot_control) / nullif(sqrt(sum(sq_control) * greatest(0,
           sum(sq_clean + sq_noisy + 2 * dot - sq_control - 2 * dot_control))), 0) AS cosine_control
FROM gradients GROUP BY ALL
"""

VIEWS = {"gradient_layers": GRADIENT_LAYERS}
