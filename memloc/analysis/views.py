"""Views that a query may use beside the tables: derived quantities of science that nobody should have to retype."""

from __future__ import annotations

# Per layer group (science.md, Gradient accounting), between clean and noisy, and between a random subset as large as the
# noisy one (control) and the rest, for comparison. norm: mean over its tensors of ‖g‖/√numel; norm_sum: their sum;
# norm_concat: of the gradient concatenated over the group. cosine: of the concatenated gradient; cosine_mean: mean over
# its tensors.
# ‖g_rest‖² = ‖g_c + g_n − g_control‖² = ‖g_c‖² + ‖g_n‖² + 2⟨g_c, g_n⟩ − ‖g_control‖² − 2⟨g_control, g_rest⟩.
GRADIENT_LAYERS = """
WITH tensors AS (
    SELECT *,
           greatest(0, coalesce(sq_clean, 0) + coalesce(sq_noisy, 0) + 2 * coalesce(dot, 0)) AS sq_total,
           greatest(0, sq_clean + sq_noisy + 2 * dot - sq_control - 2 * dot_control) AS sq_rest
    FROM gradients
)
SELECT analysis, trial, epoch, layer,
       avg(sqrt(sq_clean / numel)) AS norm_clean,
       avg(sqrt(sq_noisy / numel)) AS norm_noisy,
       avg(sqrt(sq_control / numel)) AS norm_control,
       avg(sqrt(sq_total / numel)) AS norm_total,
       sum(dot) / nullif(sqrt(sum(sq_clean) * sum(sq_noisy)), 0) AS cosine,
       sum(dot_control) / nullif(sqrt(sum(sq_control) * greatest(0,
           sum(sq_clean + sq_noisy + 2 * dot - sq_control - 2 * dot_control))), 0) AS cosine_control,
       sum(sqrt(sq_clean / numel)) AS norm_sum_clean,
       sum(sqrt(sq_noisy / numel)) AS norm_sum_noisy,
       sum(sqrt(sq_control / numel)) AS norm_sum_control,
       sum(sqrt(sq_total / numel)) AS norm_sum_total,
       sqrt(sum(sq_clean) / sum(numel)) AS norm_concat_clean,
       sqrt(sum(sq_noisy) / sum(numel)) AS norm_concat_noisy,
       sqrt(sum(sq_control) / sum(numel)) AS norm_concat_control,
       sqrt(sum(sq_total) / sum(numel)) AS norm_concat_total,
       avg(dot / nullif(sqrt(sq_clean * sq_noisy), 0)) AS cosine_mean,
       avg(dot_control / nullif(sqrt(sq_control * sq_rest), 0)) AS cosine_mean_control
FROM tensors GROUP BY ALL
"""

VIEWS = {"gradient_layers": GRADIENT_LAYERS}
