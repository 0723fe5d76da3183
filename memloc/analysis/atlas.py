"""Views over everything that says where examples are: `atlas`, and who agrees with whom (docs/instruments.md).

A stage joins by what it declares (`Stage.atlas`), a plugin's table by its columns: layer and score, and perhaps method, unit
and example.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import pyarrow as pa

from memloc.stages import STAGES
from memloc.stages.plugins import NAME

COLUMNS = ("analysis", "trial", "method", "layer", "unit", "example", "score")
DRAWS = 999  # permutations of layers behind an interval


def atlas(selects: Iterable[str]) -> str:
    """SQL: the rows of these SELECTs, each with its rank among those of the same analysis, method and example."""
    parts = (
        f"SELECT analysis, trial, method, layer, unit::BIGINT AS unit, example::BIGINT AS example, score::DOUBLE AS score "
        f"FROM ({select}) WHERE NOT isnan(score::DOUBLE)"
        for select in selects
    )
    return f"""SELECT {", ".join(COLUMNS)},
        rank() OVER (PARTITION BY analysis, method, example, unit IS NULL ORDER BY score DESC) AS rank
        FROM ({" UNION ALL ".join(parts)})"""


def declared() -> list[str]:
    """The SELECTs of the stages that this memloc knows. An installed plugin may leave it to the columns of its tables."""
    selects: list[str] = []
    for _, stage in sorted(STAGES.items()):
        selects += stage.atlas or (of_tables(stage.tables) if stage.code else [])
    return selects


def of_tables(tables: Mapping[str, pa.Schema]) -> list[str]:
    """SELECTs of those tables of plugins that have a layer and a score in each row."""
    return [_by_convention(name, schema.names) for name, schema in sorted(tables.items()) if _says_where(name, schema)]


def _says_where(name: str, schema: pa.Schema) -> bool:
    """Has it a layer, and a number as its score?"""
    if not NAME.fullmatch(name) or not {"layer", "score", "analysis", "trial"} <= set(schema.names):
        return False
    kind = schema.field("score").type
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))


def _by_convention(name: str, columns: Sequence[str]) -> str:
    absent = {"method": f"'{name}'", "unit": "NULL", "example": "NULL"}
    named = (c if c in columns else f"{absent[c]} AS {c}" for c in COLUMNS)
    return f'SELECT {", ".join(named)} FROM "{name}"'


ATLAS = atlas(declared())

# Spearman's coefficient of every two methods of a training, over layers and over neurons, for the mislabeled examples
# together: a method that speaks of single examples is averaged over them. Of several analyses with a method, that of the
# newest version of its stage counts, of these the first by id. A layer that contains another's layers is compared with their
# mean; a layer that a method does not name has 0.
# Neurons are compared within the layers in which both methods name some: that the layers agree makes no neurons agree.
# lo, hi: 95 % of the coefficients when the layers (the neurons of each layer) are permuted; p: two-sided. The permutations
# of layers are hashes, so they are the same every time. Neurons are many: their coefficient is taken to be normal, with the
# exact variance over all permutations, Σ (Σa²)(Σb²)/(n − 1) over layers, over (Σa²)(Σb²) of all.
_EACH = '"over", trial, one, other'
_RELATED = "(a.layer = b.layer OR starts_with(a.layer, b.layer || '.') OR starts_with(b.layer, a.layer || '.'))"


_Z = 1.959963984540054  # of the normal distribution: 95 %


def _two_sided(z: str) -> str:
    """SQL: erfc(z/√2) for z ≥ 0, the two-sided p of a normal number. Error below 1.5e-7 (Abramowitz and Stegun 7.1.26)."""
    t = f"(1 / (1 + 0.3275911 * {z} / sqrt(2)))"
    series = "1.061405429"
    for term in ("-1.453152027", "1.421413741", "-0.284496736", "0.254829592"):
        series = f"({term} + {t} * {series})"
    return f"({t} * {series} * exp(-{z} * {z} / 2))"


def _rank(score: str) -> str:
    """SQL: the place of a score among those of the same pair and block, from −½ to ½; equal ones share theirs."""
    block = f"PARTITION BY {_EACH}, block"
    ties = f"count(*) OVER ({block}, {score})"
    return f"((rank() OVER ({block} ORDER BY {score}) + ({ties} - 1) / 2) / (1 + count(*) OVER ({block})) - 0.5)"


def _side(method: str, other: str, column: str) -> str:
    """SQL: trial, one, other, key, a score of one side: that of its layers, in the coarser naming where both differ."""
    return f"""SELECT trial, one, other, key, fsum(score ORDER BY score) / count(*) AS {column} FROM (
        SELECT p.trial, p.one, p.other, a.layer, a.score,
               CASE WHEN bool_or(a.layer = b.layer) THEN any_value(a.layer)
                    ELSE min(CASE WHEN b.layer IS NULL OR length(a.layer) <= length(b.layer) THEN a.layer ELSE b.layer END)
               END AS key
        FROM pairs AS p JOIN layered AS a ON a.trial = p.trial AND a.method = p.{method}
        LEFT JOIN layered AS b ON b.trial = p.trial AND b.method = p.{other} AND {_RELATED} GROUP BY ALL) GROUP BY ALL"""


AGREEMENT = f"""
WITH told AS (SELECT atlas.* FROM atlas LEFT JOIN examples USING (trial, example) WHERE atlas.example IS NULL OR noisy),
     chosen AS (SELECT trial, method, first(analysis ORDER BY version DESC NULLS LAST, analysis) AS analysis
                FROM (SELECT DISTINCT trial, method, analysis FROM told) JOIN analyses USING (trial, analysis) GROUP BY ALL),
     mine AS (SELECT told.* FROM told JOIN chosen USING (trial, method, analysis)),
     together AS (SELECT DISTINCT trial, method FROM mine WHERE example IS NULL),
     wrong AS (SELECT mine.* FROM mine ANTI JOIN together USING (trial, method)),
     sizes AS (SELECT trial, method, count(DISTINCT example) AS n FROM wrong GROUP BY ALL),
     sets AS (SELECT trial, method, layer, unit, score FROM mine WHERE example IS NULL
              UNION ALL SELECT trial, method, layer, unit, fsum(score ORDER BY score) / any_value(n)
              FROM wrong JOIN sizes USING (trial, method) GROUP BY trial, method, layer, unit),
     layered AS (SELECT trial, method, layer, score FROM sets WHERE unit IS NULL),
     named AS (SELECT trial, method, layer, unit, score FROM sets WHERE unit IS NOT NULL),
     pairs AS (SELECT DISTINCT a.trial, a.method AS one, b.method AS other
               FROM layered AS a JOIN layered AS b ON a.trial = b.trial AND a.method < b.method),
     side_a AS ({_side("one", "other", "a")}),
     side_b AS ({_side("other", "one", "b")}),
     by_layer AS (SELECT 'layers' AS "over", trial, one, other, '' AS block, key, coalesce(a, 0) AS a, coalesce(b, 0) AS b
                  FROM side_a FULL JOIN side_b USING (trial, one, other, key)),
     inside AS (SELECT DISTINCT trial, method, layer FROM named),
     shared AS (SELECT a.trial, a.method AS one, b.method AS other, a.layer
                FROM inside AS a JOIN inside AS b ON a.trial = b.trial AND a.layer = b.layer AND a.method < b.method),
     ones AS (SELECT s.*, n.unit, n.score AS a FROM shared AS s
              JOIN named AS n ON n.trial = s.trial AND n.method = s.one AND n.layer = s.layer),
     others AS (SELECT s.*, n.unit, n.score AS b FROM shared AS s
                JOIN named AS n ON n.trial = s.trial AND n.method = s.other AND n.layer = s.layer),
     by_neuron AS (SELECT 'neurons' AS "over", trial, one, other, layer AS block, unit::VARCHAR AS key,
                          coalesce(a, 0) AS a, coalesce(b, 0) AS b
                   FROM ones FULL JOIN others USING (trial, one, other, layer, unit)),
     scored AS (SELECT * FROM by_layer UNION ALL SELECT * FROM by_neuron),
     ranked AS (SELECT {_EACH}, block, key, {_rank("a")} AS a, {_rank("b")} AS b FROM scored),
     lists AS (SELECT {_EACH}, block, list(key ORDER BY key) AS keys, list(a ORDER BY key) AS all_a,
                      list(b ORDER BY key) AS all_b FROM ranked WHERE "over" = 'layers' GROUP BY ALL),
     draws AS (SELECT *, unnest(range({DRAWS})) AS draw FROM lists),
     drawn AS (SELECT {_EACH}, block, draw, all_b, unnest(keys) AS key, unnest(all_a) AS a FROM draws),
     placed AS (SELECT {_EACH}, draw, a, all_b[row_number() OVER (
                    PARTITION BY {_EACH}, block, draw ORDER BY md5(concat_ws(' ', draw, block, key)), key)] AS b FROM drawn),
     permuted AS (SELECT {_EACH}, draw, round(corr(a, b), 12) AS rho FROM placed GROUP BY {_EACH}, draw),
     known AS (SELECT {_EACH}, count(*) AS n, round(corr(a, b), 12) AS rho FROM ranked
               GROUP BY {_EACH} HAVING count(*) >= 3),
     blocks AS (SELECT {_EACH}, block, count(*) AS n, fsum(a * a ORDER BY a) AS aa, fsum(b * b ORDER BY b) AS bb
                FROM ranked WHERE "over" = 'neurons' GROUP BY ALL),
     spread AS (SELECT {_EACH}, round(sqrt(fsum(aa * bb / greatest(n - 1, 1) ORDER BY block)
                                           / (fsum(aa ORDER BY block) * fsum(bb ORDER BY block))), 12) AS sd
                FROM blocks GROUP BY {_EACH})
SELECT trial, "over", one, other, any_value(k.rho) AS rho, quantile_cont(p.rho, 0.025) AS lo,
       quantile_cont(p.rho, 0.975) AS hi, (1 + count_if(abs(p.rho) >= abs(k.rho))) / (1 + count(*)) AS p, any_value(k.n) AS n
FROM known AS k JOIN permuted AS p USING (trial, "over", one, other)
WHERE NOT isnan(k.rho) AND NOT isnan(p.rho) GROUP BY trial, "over", one, other
UNION ALL
SELECT trial, "over", one, other, rho, greatest(-1, -{_Z} * sd), least(1, {_Z} * sd), {_two_sided("abs(rho) / sd")}, n
FROM known JOIN spread USING (trial, "over", one, other) WHERE NOT isnan(rho) AND sd > 0
"""
