"""The demo, whole: what the README shows is what it prints, and the paper's phenomenon is there."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from memloc.run.arithmetic import processor
from tests.run.programs import contents, memloc

pytestmark = pytest.mark.slow


def without_numbers(text: str) -> str:
    """Another processor rounds otherwise: other numbers, and so other ends of lines."""
    return re.sub(r"-?\d+\.\d+", "#", " ".join(text.split()))


def test_demo(tmp_path: Path) -> None:
    store = tmp_path / "store"
    done = memloc(tmp_path, "sweep", "demo", MEMLOC_STORE=str(store))
    assert done.code == 0, done.err
    tables = contents(store)
    # It leaves out training on one half after the other, C-scores, and the instruments beyond the paper.
    assert {name for name, t in tables.items() if t.num_rows} == {
        "trials", "analyses", "epochs", "examples", "evaluation", "predictions", "gradients", "rewind", "retrain", "flips",
        "detection", "detection_pairs",
    }  # fmt: skip
    for row in tables["evaluation"].to_pylist():
        if row["mode"] in ("own",) or (row["mode"] == "plain" and row["test_acc"] > 0.5):
            assert row["noisy_acc"] >= 0.98
        if row["mode"] == "dropped" and row["rescale"] == "none":
            assert row["noisy_acc"] <= 0.15
            assert row["clean_acc"] >= 0.95
    assert {r["mode"] for r in tables["evaluation"].to_pylist()} == {"plain", "own", "scaled", "dropped"}
    flips = tables["flips"].to_pandas()
    assert flips.eligible.all()
    means = flips.groupby(["trial", "noisy"])["count"].mean().unstack()
    assert len(means) == 2
    assert (means[True] < means[False]).all()
    detection = tables["detection"].to_pandas()
    assert (detection[(detection.score == "flips") & (detection["sample"] == "flips")].auc >= 0.65).all()
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    found = done.out[: done.out.index("Next:")].rstrip().replace("python -m memloc", ".venv/bin/memloc")
    if "GenuineIntel" in processor():  # README says that its numbers are from there
        assert f"```\n{found}\nNext:" in readme
    assert without_numbers(found) in without_numbers(readme)
    judged = json.loads(memloc(tmp_path, "claims", "demo", "--json", MEMLOC_STORE=str(store)).out)
    verdicts = {j["id"]: j["verdict"] for j in judged if not j["id"].endswith(".checkpoint")}
    for verdict, words in (("holds", "These claims hold"), ("does_not_hold", "These claims do not hold")):
        (bullet,) = re.findall(rf"^- {words} .*?(?=^- )", readme, re.MULTILINE | re.DOTALL)
        of_verdict = {name.split(".")[0] for name, own in verdicts.items() if own == verdict}
        (varies,) = re.findall(r"^- Whether .*?\(([A-Z]\d)\) depends on the processor", readme, re.MULTILINE | re.DOTALL)
        assert set(re.findall(r"\(([A-Z]\d)\)", bullet)) == of_verdict - {varies}
        assert {own for name, own in verdicts.items() if name.split(".")[0] == varies} <= {"holds", "inconclusive"}
    page = tmp_path / "report.html"
    told = memloc(tmp_path, "report", "demo", "-o", str(page), MEMLOC_STORE=str(store))
    assert (told.code, told.err, told.out) == (0, "", f"report: {page}\n")
    for name in ("fig01", "fig02", "fig03", "fig04", "fig05", "table1", "fig07"):
        article = page.read_text().split(f'<article id="{name}"')[1].split("</article>")[0]
        assert "Not run." not in article, name
    again = memloc(tmp_path, "sweep", "demo", MEMLOC_STORE=str(store))
    assert again.code == 0
    assert "nothing to do" in again.out
