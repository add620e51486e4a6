"""Write a study's report: Markdown with pictures, one HTML file, and the numbers as JSON."""

import json
from collections.abc import Sequence
from pathlib import Path

from lm_objectives.comparison.evidence.analysis import analyse
from lm_objectives.comparison.records import PlanRecord, RunRecord
from lm_objectives.comparison.report.content import content_of
from lm_objectives.comparison.report.html_page import to_html
from lm_objectives.comparison.report.markdown import to_markdown
from lm_objectives.comparison.report.pictures import draw_pictures
from lm_objectives.comparison.report.results_json import to_data
from lm_objectives.comparison.report.terminal import terminal_text
from lm_objectives.comparison.report.warnings import all_warnings
from lm_objectives.comparison.study import Study
from lm_objectives.files import atomic_write

FIGURES = "figures"
"""Folder of the pictures, next to `report.md`."""


def write_report(study: Study, plan: PlanRecord, records: Sequence[RunRecord], folder: str | Path) -> str:
    """Write `report.md` with its pictures, `report.html` and `results.json`; the text for the terminal.

    All are made before the first is written, and are equal to the bit for equal studies, plans and records.

    Args:
        study: what is compared.
        plan: what each arm does with the budget.
        records: of the runs that are done, failed ones included, in any order.
        folder: which they are written into.

    Raises:
        InputError: for a claim on a number of which no direction is better.
        OSError: where something cannot be written.
    """
    analysis, warnings = analyse(study, plan, records), all_warnings(study, plan, records)
    text = terminal_text(plan, analysis, warnings)
    pictures = draw_pictures(analysis)
    blocks = content_of(study, plan, analysis, warnings, pictures)
    data = json.dumps(to_data(study, plan, analysis, warnings), indent=1, ensure_ascii=False, allow_nan=False)
    files = {f"{FIGURES}/{name}": picture for name, picture in pictures.items()} | {
        "report.md": to_markdown(blocks, FIGURES).encode(),
        "report.html": to_html(blocks, pictures, study.name).encode(),
        "results.json": data.encode(),
    }
    for name, content in files.items():
        with atomic_write(Path(folder) / name) as file:
            file.write(content)
    return text
