"""Reports of small studies: equal for equal inputs, whole, and with the numbers of the records."""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from utils.study_cases import GOLDEN, NATS, failing, make_plan, make_run, make_runs, make_study

from lm_objectives.comparison.records import RunRecord
from lm_objectives.comparison.report.blocks import Bullets, Heading, Paragraph, Picture, Table
from lm_objectives.comparison.report.html_page import to_html
from lm_objectives.comparison.report.markdown import to_markdown
from lm_objectives.comparison.report.results_json import SCHEMA
from lm_objectives.comparison.report.write import write_report

CLAIMS: list[dict[str, Any]] = [
    {"better": "mixed", "than": ["causal", "masked"], "on": "held_out/causal"},
    {"better": "masked", "than": "causal", "on": "held_out/causal"},
    {"equal": "mixed", "to": "causal", "on": "held_out/causal", "within": 0.02},
]
LADDER: dict[str, Any] = {"budget": {"flops": [1e13, 2e13]}}


def _runs(rungs: int = 1) -> list[RunRecord]:
    return [
        replace(run, rung=rung, numbers={NATS: value - math.log(rung + 1), "swaps/causal/accuracy": 0.6 + value / 100})
        for run in make_runs()
        for rung in range(rungs)
        for value in [run.numbers[NATS]]
    ]


def _write(folder: Path, runs: Sequence[RunRecord] | None = None, **changes: Any) -> str:
    study = make_study(**{"claims": CLAIMS, **changes})
    return write_report(study, make_plan(study, megabytes=160.0), _runs() if runs is None else runs, folder)


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("rungs", [1, 2])
def test_equal_inputs_give_equal_bytes(tmp_path: Path, rungs: int) -> None:
    """Property: two calls, the second with the runs turned round, are equal to the bit in all files."""
    runs, changes = _runs(rungs), LADDER if rungs == 2 else {}
    first = _write(tmp_path / "a", runs, **changes)
    assert _write(tmp_path / "b", runs[::-1], **changes) == first
    files = _files(tmp_path / "a")
    assert files == _files(tmp_path / "b")
    assert {"report.md", "report.html", "results.json", "figures/held_out_causal_nats.png"} <= files.keys()
    assert ("figures/ladder.png" in files) == (rungs == 2)


def test_times_stand_in_the_cost_alone(tmp_path: Path) -> None:
    """Property: other times change the last section and the key `cost`, and nothing else."""
    text = _write(tmp_path / "a")
    assert _write(tmp_path / "b", [replace(run, seconds=999.0) for run in _runs()]) == text
    one, other = _files(tmp_path / "a"), _files(tmp_path / "b")
    for name in one.keys() - {"report.md", "report.html", "results.json"}:
        assert one[name] == other[name]
    for name, cost in (("report.md", b"## Cost"), ("report.html", b"<h2>Cost</h2>")):
        assert one[name] != other[name] and one[name].split(cost)[0] == other[name].split(cost)[0]
    data, changed = json.loads(one["results.json"]), json.loads(other["results.json"])
    assert data.pop("cost") != changed.pop("cost") and data == changed


TERMINAL = """\
held_out, read as causal (nats, less is better)    5 seeds, each with 1e13 FLOPs
arm     mean   95 % CI         seeds                          - causal  95 % CI of it      verdict
------  -----  --------------  -----------------------------  --------  -----------------  \
------------------------------
causal  4.407  4.393 to 4.422  4.402 4.415 4.391 4.420 4.409
mixed   4.392  4.381 to 4.403  4.381 4.402 4.385 4.393 4.399  -0.015    -0.026 to -0.0048
masked  4.456  4.440 to 4.472  4.450 4.471 4.439 4.466 4.452  +0.048    +0.042 to +0.054   \
worse (Holm p < .0001; 5 of 5)

1 + 1 > 2?  mixed better than causal and masked on held_out, read as causal: yes, better than causal by 0.015 nats \
(0.0048 to 0.026), 5 of 5 seeds, and better than masked by 0.064 nats (0.052 to 0.075), 5 of 5 seeds, Holm p .0077.
            masked better than causal on held_out, read as causal: no, worse by 0.048 nats (0.042 to 0.054), 5 of 5 \
seeds, Holm p < .0001."""


def test_the_terminal_text(tmp_path: Path) -> None:
    """Oracle: the text by hand, from the golden table."""
    assert _write(tmp_path, make_runs(), claims=CLAIMS[:2]) == TERMINAL


class _Page(HTMLParser):
    """Collects tags and attributes, and complains of what is not closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_needs_nothing_else(tmp_path: Path) -> None:
    """Oracle: html.parser closes every tag; there is no script, no address, and each picture is the file's bytes."""
    _write(tmp_path, _runs(2), **LADDER)
    text = (tmp_path / "report.html").read_text()
    page = _Page()
    page.feed(text)
    assert not page.open and "script" not in page.tags
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)
    assert len(page.sources) == len(list((tmp_path / "figures").glob("*.png"))) > 3
    assert "http" not in re.sub(r"base64,[^\"]*", "", text)


def test_pictures_of_the_markdown_exist(tmp_path: Path) -> None:
    """Property: every picture that is named is a PNG, and every PNG is named; none tells a version or a date."""
    _write(tmp_path, _runs(2), **LADDER)
    names = re.findall(r"!\[[^\]]*\]\(([^)]*)\)", (tmp_path / "report.md").read_text())
    assert sorted(names) == sorted(name for name in _files(tmp_path) if name.endswith(".png"))
    for name in names:
        content = (tmp_path / name).read_bytes()
        assert content.startswith(b"\x89PNG") and b"Software" not in content and b"tEXt" not in content


def test_text_of_others_is_text(tmp_path: Path) -> None:
    """Property: a failure's message is no tag and ends no cell."""
    _write(tmp_path, [replace(run, failed="<b>a|b</b>" if run.seed == 0 else None) for run in _runs()])
    assert "<b>" not in (tmp_path / "report.html").read_text() and "<b>" not in (tmp_path / "report.md").read_text()
    assert "a\\|b" in (tmp_path / "report.md").read_text()
    blocks = [Heading("<i>"), Paragraph("<i>"), Bullets(["<i>"]), Table(["<i>"], [["<i>"]]), Picture("a.png", '"<i>')]
    assert "<i>" not in to_html(blocks, {"a.png": b""}, "<i>") and "<i>" not in to_markdown(blocks, "figures")


def test_results_hold_every_number(tmp_path: Path) -> None:
    """Oracle: the records, and the golden p-values."""
    runs = failing(_runs(), "masked", 1)
    _write(tmp_path, runs)
    data = json.loads((tmp_path / "results.json").read_text())
    assert data["schema"] == SCHEMA == 1
    found = {
        (row["arm"], row["seed"], row["rung"], f"{row['task']}/{row['reading']}/{row['metric']}"): row["value"]
        for row in data["numbers"]
    }
    assert found == {(r.arm, r.seed, r.rung, name): value for r in runs for name, value in r.numbers.items()}
    assert [row["failed"] for row in data["runs"] if row["failed"]] == ["its loss was NaN at step 90"]
    both = [row for row in data["claims"] if row["kind"] == "better" and row["arm"] == "mixed"]
    assert [row["other"] for row in both] == ["causal", "masked"]
    assert both[0]["difference"] == pytest.approx(0.0154) and both[0]["p"] == pytest.approx(0.00773896, rel=1e-5)
    assert both[0]["differences"] == pytest.approx([0.021, 0.013, 0.006, 0.027, 0.010])
    assert data["cost"]["runs"][0]["seconds"] == 130.0 and data["plan"]["seeds"] == [0, 1, 2, 3, 4]
    assert data["study"]["claims"][0]["better"] == "mixed" and data["versions"]["torch"] == ["2.12.0"]


def test_a_curve_may_begin_infinite(tmp_path: Path) -> None:
    """Property: JSON has no infinity, so it holds null."""
    curves = {"val/causal/loss": [(0.0, math.inf), (1e13, 4.5)]}
    _write(tmp_path, [replace(run, curves=curves) for run in _runs()])
    data = json.loads((tmp_path / "results.json").read_text())
    assert data["runs"][0]["curves"]["val/causal/loss"] == [[0.0, None], [1e13, 4.5]]


def test_numbers_load_as_a_table(tmp_path: Path) -> None:
    """Oracle: pandas, where it is installed."""
    pandas = pytest.importorskip("pandas")
    _write(tmp_path)
    table = pandas.DataFrame(json.loads((tmp_path / "results.json").read_text())["numbers"])
    means = table[table["metric"] == "nats"].groupby("arm")["value"].mean()
    assert means["mixed"] == pytest.approx(sum(GOLDEN["mixed"]) / 5)


def test_drawn_numbers_are_those_of_the_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Oracle: the lines of the figures: a line of dots for each seed, and curves over FLOPs as recorded."""
    figures: list[Figure] = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: (figures.append(self), save(self, *a, **k)))
    _write(tmp_path, make_runs())
    dots = [list(line.get_ydata()) for line in figures[0].axes[0].lines]
    assert dots[:5] == [[GOLDEN[arm][seed] for arm in GOLDEN] for seed in range(5)]
    means = [list(container.lines[0].get_xdata()) for container in figures[0].axes[1].containers]
    assert means == [pytest.approx([-0.0154]), pytest.approx([0.0482])]
    [band] = [patch for patch in figures[0].axes[1].patches if patch.get_label() == "margin 0.02"]
    assert band.get_extents().width > 0
    curves = [list(line.get_ydata()) for line in figures[1].axes[0].lines]
    assert curves == [[5.5 + seed / 100, 4.5] for seed in range(5)]
    assert [list(line.get_ydata()) for line in figures[2].axes[0].lines] == [[0.5, 0.6]] * 5


def test_a_report_of_nothing_yet(tmp_path: Path) -> None:
    """Property: a study without a run has a report that says so."""
    text = _write(tmp_path, [])
    assert "no verdict: 0 of 5 seeds are done." in text
    assert json.loads((tmp_path / "results.json").read_text())["numbers"] == []


def test_unknown_costs_are_absent(tmp_path: Path) -> None:
    """Property: FLOPs that losses decide and times that nobody took are not 0."""
    study = make_study()
    plan = make_plan(study)
    plan = replace(plan, arms=[replace(arm, flops=None, seconds=None) for arm in plan.arms])
    write_report(study, plan, make_runs(), tmp_path)
    assert "| mixed | 1e13 | 5 of 5 | – | 5e13 | – | 10.8 minutes |" in (tmp_path / "report.md").read_text()  # noqa: RUF001


def test_a_report_of_one_run(tmp_path: Path) -> None:
    """Property: one seed has values, no interval, and no verdict."""
    text = _write(tmp_path, [make_run("causal", 0, {NATS: 4.4})], seeds=1, claims=[])
    assert "causal  4.400  –" in text and "nothing is decided below 3" in text  # noqa: RUF001


def test_a_report_that_cannot_be_made_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Property: an older report stays as it is where a new one fails."""
    _write(tmp_path)
    before = _files(tmp_path)
    monkeypatch.setattr("lm_objectives.comparison.report.write.to_html", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        _write(tmp_path, _runs()[:6])
    assert _files(tmp_path) == before


def test_gains_beyond_the_ladder_are_counted(tmp_path: Path) -> None:
    """Oracle: by construction, an arm that each budget leaves better than the other ever is."""
    far = [replace(run, numbers={NATS: 1.0 - run.rung}) if run.arm == "causal" else run for run in _runs(2)]
    told = _write(tmp_path, far, **LADDER)
    page = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert (
        "of arms beyond the ladder with every budget" in told and "of arms beyond the ladder with every budget" in page
    )
    assert "beyond the ladder; " not in told
