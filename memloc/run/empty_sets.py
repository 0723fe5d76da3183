"""Notes of a plan in which one of the two sets that memloc compares is empty. The plan runs, but its rows say little."""

from __future__ import annotations

from memloc.run.plan import TrialPlan


def notes(trial: TrialPlan) -> list[str]:
    """A line for label noise, and one for a threshold of C-scores, if it leaves no memorized or no other example."""
    return [*_noise_problems(trial), *_score_problems(trial)]


def _noise_problems(trial: TrialPlan) -> list[str]:
    size, noise, how = trial.size, trial.config.noise, trial.config.noise_count
    if not noise or 0 < size.n_noisy < size.n:
        return []
    which = "there are no mislabeled examples" if not size.n_noisy else "there are no clean examples"
    if size.n_out:  # which ones are held out is a matter of chance
        return [f"noise {noise} of {size.n + size.n_out} examples, of which a training sees {size.n}: {which} among these"]
    rounds = "rounds down to" if how == "floor" else "rounds to"
    return [f"noise {noise} of {size.n} examples {rounds} {size.n_noisy} wrong labels: {which}"]


def _score_problems(trial: TrialPlan) -> list[str]:
    lines = []
    for analysis in trial.analyses:
        threshold, size = analysis.config.c_score_threshold(), analysis.size
        if analysis.c_scores is None or threshold is None or 0 < size.n_noisy < size.n:
            continue
        which = "no example has" if not size.n_noisy else f"all {size.n} examples have"
        set_name = "memorized" if not size.n_noisy else "other"
        lines.append(
            f"{analysis.stage}: {which} a C-score below {threshold} "
            f"({analysis.c_scores.where}): the set of {set_name} examples is empty"
        )
    return lines
