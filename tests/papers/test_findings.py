"""The sentences about a paper: from the judgements of one setting alone, the paper's nearest setting first."""

from __future__ import annotations

from pathlib import Path

from memloc.papers.findings import findings, first_of_each
from memloc.papers.judging import judge
from memloc.papers.paper import Judged, Paper, Section
from memloc.papers.registry import paper
from tests.papers.maini2023.simulated import Simulated


def spoken(judged: Judged) -> str:
    return "; ".join(f"{claim}.{part} {j.printed(1)}" for claim, parts in judged.items() for part, j in parts.items())


def by_claims(*ids: str) -> Section:
    return Section("+".join(ids), "§1", [c for c in paper().claims if c.id in ids], (), spoken)


def test_a_section_speaks_of_each_setting_with_its_own_numbers(tmp_path: Path) -> None:
    made = Simulated(tmp_path)
    for dataset, count in (("mnist", 4), ("digits", 8)):
        made.gradients(made.training(dataset=dataset, width=0.5), noisy=float(count))
        made.gradients(made.training(dataset=dataset, width=0.5), noisy=3.0, at=None)
    made.gradients(made.training(dataset="mnist"), noisy=2.0)
    made.gradients(made.training(dataset="svhn", evaluated=0.2), noisy=9.0)  # not memorized: nothing to say
    one = Paper("p", "A paper", "somewhere", (by_claims("G1", "G5"), by_claims("G4"), by_claims("F1")))
    several = findings(judge(made.store, one), one)
    # G4: √(1 + n² − 1.8 n) for noisy norms n = 2, 4, 8 at a cosine of −0.9.
    assert [(f.section.name, f.label, f.sentence) for f in several] == [
        ("G1+G5", "MNIST", "G1. 2.0; G5. 18.0"),
        ("G1+G5", "MNIST, width 0.5", "G1. 4.0; G5. 36.0"),
        ("G1+G5", "digits, width 0.5", "G1. 8.0; G5. 72.0"),
        ("G4", "MNIST", "G4. 1.2"),
        ("G4", "MNIST, width 0.5", "G4. 3.1"),
        ("G4", "digits, width 0.5", "G4. 7.1"),
    ]
    assert [(f.section.name, f.label) for f in first_of_each(several)] == [("G1+G5", "MNIST"), ("G4", "MNIST")]


def test_a_section_without_a_sentence_is_left_out(tmp_path: Path) -> None:
    made = Simulated(tmp_path)
    made.gradients(made.training(), noisy=2.0)
    silent = Paper("p", "A paper", "somewhere", (Section("Silent", "§1", paper().claims, (), lambda judged: ""),))
    assert findings(judge(made.store, silent), silent) == []


def test_files_of_one_name_in_two_folders_are_two_settings(tmp_path: Path) -> None:
    made = Simulated(tmp_path)
    for folder, noisy in (("a", 2.0), ("b", 4.0)):
        made.gradients(made.training(dataset=f"npz:/{folder}/x.npz"), noisy=noisy)
    one = Paper("p", "A paper", "somewhere", (by_claims("G1", "G5"),))
    assert [(f.label, f.sentence) for f in findings(judge(made.store, one), one)] == [
        ("setting 1", "G1. 2.0; G5. 18.0"),
        ("setting 2", "G1. 4.0; G5. 36.0"),
    ]


def test_the_papers_noise_rate_comes_first(tmp_path: Path) -> None:
    made = Simulated(tmp_path)
    for noise in (0.05, 0.1, 0.2):
        made.gradients(made.training(noise=noise), noisy=noise * 10)
    one = Paper("p", "A paper", "somewhere", (by_claims("G4"),))
    assert [f.label for f in findings(judge(made.store, one), one)] == ["10 % noise", "5 % noise", "20 % noise"]


def test_drawn_noise_comes_before_labels_that_are_wrong_as_given(tmp_path: Path) -> None:
    """Though the drawn noise has one more unusual field, and its rate is farther from the paper's."""
    made = Simulated(tmp_path)
    made.gradients(made.training(dataset="parquet:mine", labels="person", noise=0.0, given_noise=0.1), noisy=1.0)
    made.gradients(made.training(dataset="parquet:mine", labels="true", noise=0.2, width=0.5), noisy=2.0)
    one = Paper("p", "A paper", "somewhere", (by_claims("G4"),))
    judged = judge(made.store, one)
    assert [f.label for f in findings(judged, one)] == [
        "20 % noise, labels true, width 0.5",
        "person labels (10 % wrong)",
    ]
    assert [j.id for j in judged if j.ours is not None] == ["G4", "G4.parquet_mine.person"]
