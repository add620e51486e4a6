"""The task of all probes on a small encoder."""

from dataclasses import replace

import pytest
from utils.evaluated_models import session_of

from lm_objectives.errors import InputError
from lm_objectives.evaluation.evaluate import make_tasks, run_tasks
from lm_objectives.evaluation.model import EvaluatedModel
from lm_objectives.evaluation.tasks.probes import Probes


def test_probes_tell_how_long_a_sentence_is(shallow: EvaluatedModel) -> None:
    """Oracle: chance, in a mean of states whose position embeddings say how many there were; and the results' form."""
    evaluation = run_tasks(shallow, make_tasks(["probes"]), shallow.readings, items=250)
    results = {(result.task, result.reading, result.metric): result for result in evaluation.results}
    tasks = {f"probes/{name}" for name in ("bigram_shift", "length", "order", "word_content")}
    assert {task for task, _, _ in results} | {note.split()[0] for note in evaluation.notes} == tasks
    for metric in ("accuracy", "control_accuracy"):
        found = results["probes/length", "bidirectional_layer_1", metric]
        assert found.chance is not None and found.item_se is not None
        assert found.value > found.chance + 3 * found.item_se and found.n > 30
    assert "control accuracy  " in evaluation.table()


def test_probes_with_too_few_items_are_left_out_with_a_note(shallow: EvaluatedModel) -> None:
    """Oracle: the notes; of four items no label has five."""
    session = session_of(shallow, items=4)
    assert Probes().run(session) == []
    problem = "left out: 0 labels with 5 training items or more, of 2 at least"
    names = ("bigram_shift", "word_content", "length", "order")
    assert session.notes == [f"probes/{name} {problem}" for name in names]


def test_probes_want_a_runs_own_documents(shallow: EvaluatedModel) -> None:
    """Oracle: the message."""
    with pytest.raises(InputError, match="expected the run's own held-out documents for the task probes, found none"):
        Probes().run(session_of(replace(shallow, cache=None)))
