"""Views that a query may use besides the tables: derived quantities (docs/tables.md)."""

from __future__ import annotations

from collections.abc import Sequence

from memloc.analysis.atlas import AGREEMENT, ATLAS


def ordered_sum(numbers: str) -> str:
    """SQL: the sum of doubles, the same to the last bit every time. DuckDB adds in parallel, in no fixed order."""
    return f"fsum({numbers} ORDER BY {numbers})"


def ordered_mean(numbers: str) -> str:
    """SQL: the mean of doubles, likewise; NULL without any."""
    return f"{ordered_sum(numbers)} / nullif(count({numbers}), 0)"


# Norms and cosines per layer group (science.md, Gradient accounting), of clean and noisy examples. For comparison also of a
# random subset as large as the noisy one (control) and the rest. norm: mean over the group's tensors of ‖g‖/√numel.
# norm_sum: their sum. norm_concat: that of the concatenated gradient. cosine: that of the concatenated gradients.
# cosine_mean: mean over the group's tensors.
# Epochs without updates (after `stop_after_perfect`) have no row: the table has NULL for both sets.
# ‖g_rest‖² = ‖g_c + g_n − g_control‖² = ‖g_c‖² + ‖g_n‖² + 2⟨g_c, g_n⟩ − ‖g_control‖² − 2⟨g_control, g_rest⟩.
SETS = ("clean", "noisy", "control", "rest", "total")
REST = "sq_clean + sq_noisy + 2 * dot - sq_control - 2 * dot_control"
GRADIENT_LAYERS = f"""
WITH tensors AS (
    SELECT *,
           greatest(0, coalesce(sq_clean, 0) + coalesce(sq_noisy, 0) + 2 * coalesce(dot, 0)) AS sq_total,
           greatest(0, {REST}) AS sq_rest
    FROM gradients WHERE sq_clean IS NOT NULL OR sq_noisy IS NOT NULL
)
SELECT analysis, trial, epoch, layer,
       {", ".join(f"{ordered_mean(f'sqrt(sq_{s} / numel)')} AS norm_{s}" for s in SETS)},
       {ordered_sum("dot")} / nullif(sqrt({ordered_sum("sq_clean")} * {ordered_sum("sq_noisy")}), 0) AS cosine,
       {ordered_sum("dot_control")}
           / nullif(sqrt({ordered_sum("sq_control")} * greatest(0, {ordered_sum(REST)})), 0) AS cosine_control,
       {", ".join(f"{ordered_sum(f'sqrt(sq_{s} / numel)')} AS norm_sum_{s}" for s in SETS)},
       {", ".join(f"sqrt({ordered_sum(f'sq_{s}')} / sum(numel)) AS norm_concat_{s}" for s in SETS)},
       {ordered_mean("dot / nullif(sqrt(sq_clean * sq_noisy), 0)")} AS cosine_mean,
       {ordered_mean("dot_control / nullif(sqrt(sq_control * sq_rest), 0)")} AS cosine_mean_control
FROM tensors GROUP BY ALL
"""

# Eligible searches. A censored one counts as its analysis's max_neurons, wherever it ended.
FLIP_COUNTS = """
SELECT analysis, trial, example, repeat, noisy,
       CASE WHEN censored THEN TRY_CAST(config->>'max_neurons' AS INTEGER) ELSE count END AS neurons,
       censored, clean_acc, noisy_acc, test_acc
FROM flips JOIN analyses USING (analysis, trial) WHERE eligible
"""

# AUC of minus the mean count over the first 1, 2, … repeats, mislabeled against correctly labeled examples: Mann–Whitney's
# U / (m·n) from midranks.
FLIPS_AUC = """
WITH asked AS (SELECT DISTINCT analysis, repeat + 1 AS repeats FROM flips),
     means AS (SELECT analysis, trial, repeats, example, avg(neurons) AS neurons
               FROM flip_counts JOIN asked USING (analysis) WHERE repeat < repeats GROUP BY ALL),
     judged AS (SELECT means.*, noisy FROM means JOIN examples USING (trial, example)),
     ranked AS (SELECT *, rank() OVER (PARTITION BY analysis, repeats ORDER BY neurons DESC)
                          + (count(*) OVER (PARTITION BY analysis, repeats, neurons) - 1) / 2 AS midrank FROM judged),
     sums AS (SELECT analysis, trial, repeats, count(*) AS n, count_if(noisy) AS m,
                     sum(CASE WHEN noisy THEN midrank END) AS total FROM ranked GROUP BY ALL)
SELECT analysis, trial, repeats, (total - m * (m + 1) / 2) / nullif(m * (n - m), 0) AS auc, n FROM sums
"""

# The same for the first 1, 2, … (training, repeat), by seed, then repeat, of all trainings that differ in `seed` alone. The
# same examples are mislabeled in all of them. Merging {"seed": null} removes the seed from a configuration. `family` is a
# number for the setting: many rows with a configuration's text would fill the memory. A mean over the first draws goes on
# from the mean before it: every draw joined with all those before it would be a square of rows.
FLIPS_AUC_POOLED = """
WITH searched AS (SELECT DISTINCT analysis, trial, repeat FROM flips),
     placed AS (SELECT analysis, trial, repeat, CAST(json_merge_patch(t.config, '{"seed": null}') AS VARCHAR) AS setting,
                       a.config AS analysis_config, t.seed
                FROM searched JOIN analyses AS a USING (analysis, trial) JOIN trials AS t USING (trial)),
     families AS (SELECT setting, analysis_config, row_number() OVER () AS family
                  FROM (SELECT DISTINCT setting, analysis_config FROM placed)),
     drawn AS (SELECT analysis, trial, repeat, family,
                      row_number() OVER (PARTITION BY family ORDER BY seed, trial, repeat) AS draw
               FROM placed JOIN families USING (setting, analysis_config)),
     counted AS (SELECT family, draw, example, examples.noisy, neurons
                 FROM flip_counts JOIN drawn USING (analysis, trial, repeat) JOIN examples USING (trial, example)),
     grid AS (SELECT family, draw, example, noisy
              FROM (SELECT DISTINCT family, example, noisy FROM counted)
              JOIN (SELECT family, draw FROM drawn) USING (family)),
     running AS (SELECT family, draw AS draws, example, noisy,
                        count(found.neurons) OVER first AS n, sum(found.neurons) OVER first AS total
                 FROM grid LEFT JOIN counted AS found USING (family, draw, example, noisy)
                 WINDOW first AS (PARTITION BY family, example, noisy ORDER BY draw ROWS UNBOUNDED PRECEDING)),
     means AS (SELECT family, draws, noisy, total / n AS neurons FROM running WHERE n > 0),
     ranked AS (SELECT *, rank() OVER (PARTITION BY family, draws ORDER BY neurons DESC)
                          + (count(*) OVER (PARTITION BY family, draws, neurons) - 1) / 2 AS midrank
                FROM means),
     sums AS (SELECT family, draws, count(*) AS n, count_if(noisy) AS m,
                     sum(CASE WHEN noisy THEN midrank END) AS total FROM ranked GROUP BY ALL)
SELECT setting, analysis_config, draws, (total - m * (m + 1) / 2) / nullif(m * (n - m), 0) AS auc, n
FROM sums JOIN families USING (family)
"""

# The sets of C-scores, the largest first (`place`); sets of equal size are ordered by id.
SCORE_SETS = """
SELECT scores, dataset, noise, config,
       row_number() OVER (ORDER BY TRY_CAST(config->'held_out'->>'min_held_out' AS INTEGER)
                          * json_array_length(config, '$.held_out.ratios') DESC NULLS LAST, scores) AS place
FROM (SELECT DISTINCT scores, dataset, noise, config FROM c_scores)
"""


def _same(*fields: str) -> str:
    """SQL: score set `s` and trial `t` agree in these fields. An absent field has its default."""
    return " AND ".join(f"(s.config->>'{f}') IS NOT DISTINCT FROM (t.config->>'{f}')" for f in fields)


# Does score set `s` judge the examples of trial `t`? It must be on all examples or on the same subset. RIGHT_LABELS: under
# the right labels. SAME_LABELS: under the labels that they have in `t` (as run/score_sources.same_labels).
RIGHT_LABELS = f"""s.dataset = t.dataset AND s.noise = 0 AND ({_same("labels", "true_label")})
     AND ((s.config->>'subset') IS NULL OR ({_same("subset", "data_seed")}))"""
SAME_LABELS = f"""s.dataset = t.dataset AND s.noise = t.noise AND ({_same("labels", "true_label")})
     AND ((s.config->>'subset') IS NULL OR ({_same("subset", "data_seed")}))
     AND (t.noise = 0 OR ({_same("subset", "wrong", "noise_count", "data_seed", "noise_seed")}))"""

# Trial × the set of C-scores on its right labels, the largest there is.
RIGHT_SCORES = f"""
SELECT t.trial, arg_min(s.scores, s.place) AS scores
FROM trials AS t JOIN ({SCORE_SETS}) AS s ON {RIGHT_LABELS} GROUP BY t.trial
"""

# The flips analysis of each trial: the one with most eligible searches, of those the newest version, the first by id.
MOST_SEARCHED = """
SELECT analysis FROM flip_counts LEFT JOIN analyses USING (analysis, trial) GROUP BY analysis, trial, version
QUALIFY row_number() OVER (PARTITION BY trial ORDER BY count(*) DESC, version DESC NULLS LAST, analysis) = 1
"""

# Trial × example with every score joined, NULL where it was not computed. The C-scores are those on the same labels. If a
# training has several analyses: the flips with most searches; of these, and of evaluations and second splits, those of the
# newest version of the stage, the first by id.
LEADERBOARD = f"""
WITH largest AS ({MOST_SEARCHED}),
     flipped AS (SELECT trial, example, avg(neurons) AS flips FROM flip_counts SEMI JOIN largest USING (analysis)
                 GROUP BY trial, example),
     plain AS (SELECT p.trial, p.example, p.correct, p.margin
               FROM predictions AS p JOIN analyses AS a USING (analysis) JOIN trials AS t ON t.trial = p.trial
               WHERE p.mode = 'plain' AND TRY_CAST(a.config->>'epoch' AS INTEGER) = t.epochs
               QUALIFY row_number() OVER (PARTITION BY p.trial, p.example
                                         ORDER BY a.version DESC NULLS LAST, p.analysis) = 1),
     split AS (SELECT trial, example, first(time ORDER BY version DESC NULLS LAST, analysis) AS time
               FROM second_split LEFT JOIN analyses USING (analysis, trial) GROUP BY ALL),
     chosen AS (SELECT t.trial, arg_min(s.scores, s.place) AS scores
                FROM trials AS t JOIN ({SCORE_SETS}) AS s ON {SAME_LABELS} GROUP BY t.trial)
SELECT e.trial, e.example, e.label, e.true_label, e.noisy, e.learning_time, e.forgetting, e.aum, e.el2n, e.mean_loss,
       e.final_loss, e.mean_prob, e.alternative, e.alternative_prob, plain.correct, plain.margin, flipped.flips,
       split.time AS second_split, scored.c_score, scored.memorization
FROM examples AS e
LEFT JOIN plain ON plain.trial = e.trial AND plain.example = e.example
LEFT JOIN flipped ON flipped.trial = e.trial AND flipped.example = e.example
LEFT JOIN split ON split.trial = e.trial AND split.example = e.example
LEFT JOIN chosen ON chosen.trial = e.trial
LEFT JOIN c_scores AS scored ON scored.scores = chosen.scores AND scored.example = e.example
"""


def with_scores(leaderboard: str, scores: Sequence[str]) -> str:
    """SQL: the leaderboard with a column for each of these scores of plugins. Of several analyses the first by id counts."""
    if not scores:
        return leaderboard
    chosen = (f"arg_min(value, analysis) FILTER (score = '{name}') AS \"{name}\"" for name in scores)
    joined = f"SELECT trial, example, {', '.join(chosen)} FROM scores GROUP BY ALL"
    return f"""SELECT board.*, own.* EXCLUDE (trial, example) FROM ({leaderboard}) AS board
        LEFT JOIN ({joined}) AS own ON own.trial = board.trial AND own.example = board.example"""


# Clean examples that are right under their own masks and wrong once the memorization neurons are dropped (Figure 7).
# predicted, margin: after dropping. c_score: on the right labels.
FORGOTTEN = f"""
WITH chosen AS ({RIGHT_SCORES})
SELECT after.analysis, trial, example, e.label, after.predicted, after.margin, e.learning_time, scored.c_score
FROM predictions AS after
JOIN (SELECT analysis, trial, example FROM predictions WHERE mode = 'own' AND correct) USING (analysis, trial, example)
JOIN examples AS e USING (trial, example)
LEFT JOIN chosen USING (trial)
LEFT JOIN (SELECT scores, example, c_score FROM c_scores) AS scored USING (scores, example)
WHERE after.mode = 'dropped' AND after.rescale = 'none' AND NOT after.correct AND NOT e.noisy
"""

VIEWS = {
    "gradient_layers": GRADIENT_LAYERS,
    "flip_counts": FLIP_COUNTS,
    "flips_auc": FLIPS_AUC,
    "flips_auc_pooled": FLIPS_AUC_POOLED,
    "leaderboard": LEADERBOARD,
    "forgotten": FORGOTTEN,
    "atlas": ATLAS,
    "atlas_agreement": AGREEMENT,
}
