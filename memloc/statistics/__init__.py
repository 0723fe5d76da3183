"""Statistics of rankings and of means: AUC with DeLong's intervals, precision, rank correlation.

The functions take arrays and return numbers. They know nothing of trainings. A score is float64[n], `positive` is bool[n],
and higher scores should be positive. A quantity that the examples do not determine is None, never NaN: for example the AUC
if a class is empty or a score is NaN. Intervals are 95 % intervals unless a function takes a `level`.
"""

from memloc.statistics.correlation import Correlation, page_trend, rank_correlation, rank_correlations, spearman_test
from memloc.statistics.delong import auc, auc_difference, auc_interval
from memloc.statistics.interval import Bools, Difference, Floats, Interval, Labels, in_brackets
from memloc.statistics.parametric import student_interval, wilson_interval
from memloc.statistics.precision import average_precision, precision_at

__all__ = [
    "Bools",
    "Correlation",
    "Difference",
    "Floats",
    "Interval",
    "Labels",
    "auc",
    "auc_difference",
    "auc_interval",
    "average_precision",
    "in_brackets",
    "page_trend",
    "precision_at",
    "rank_correlation",
    "rank_correlations",
    "spearman_test",
    "student_interval",
    "wilson_interval",
]
