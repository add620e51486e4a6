"""What a model's frozen states know: probes made from a run's own held-out sentences."""

from lm_objectives.evaluation.model import EvaluatedModel
from lm_objectives.evaluation.results import Result
from lm_objectives.evaluation.tasks.base import Session, Task
from lm_objectives.evaluation.tasks.decades import decade
from lm_objectives.evaluation.tasks.linear_probe import LinearProbes, ProbeItem, problem_of
from lm_objectives.evaluation.tasks.probe_items import (
    bigram_shift,
    choose_items,
    length,
    order,
    paragraphs_of,
    sentences_of,
    word_content,
)
from lm_objectives.evaluation.tasks.sentences import held_out_text

_OF_SENTENCES = (bigram_shift, word_content, length)

PROBES = tuple(probe.__name__ for probe in (*_OF_SENTENCES, order, decade))
"""Their names; the last is of the shipped corpus alone."""

_MOST = 2000  # items of a probe
_MOST_PARAGRAPHS = 800  # items of the probe for decades: paragraphs are long, and those of a document much alike


class Probes(Task):
    """Whether a linear classifier tells from frozen states what was done to a sentence, or what it says.

    `bigram_shift`, `word_content`, `length` (Conneau et al. 2018, section 2), `order` (Lan et al. 2020, section 3.1)
    and, of the shipped corpus alone, `decade`. A probe has at most 2,000 items, that for decades 800. Seven tenths of
    the sentences, chosen by their text, are trained on and the rest tested on, the same for every model that was
    trained on the same documents. A probe with too few items is left out, which a note says.
    """

    name = "probes"
    needs_scikit_learn = True

    def run(self, session: Session) -> list[Result]:
        probes, results = LinearProbes(session), list[Result]()
        for name, items in make_items(session.model, session.items, session.seed).items():
            problem = problem_of(items)
            if problem is None:
                results += probes.run(f"{self.name}/{name}", items)
            else:
                session.notes.append(f"{self.name}/{name} left out: {problem}")
        return results


def make_items(model: EvaluatedModel, most: int, seed: int) -> dict[str, list[ProbeItem]]:
    """The items of each probe, which depend on the held-out documents alone.

    Args:
        model: a run's.
        most: items of a probe; 0 for as many as `Probes` says.
        seed: chooses and changes them.
    """
    most = min(most or _MOST, _MOST)
    paragraphs = [sentences for _, sentences in paragraphs_of(held_out_text(model, Probes.name), model, seed)]
    sentences = sentences_of(paragraphs)
    made = {probe.__name__: probe(sentences, seed) for probe in _OF_SENTENCES}
    made[order.__name__] = order(paragraphs, seed)
    items = {name: choose_items(found, most, seed) for name, found in made.items()}
    in_decades = decade(model, min(most, _MOST_PARAGRAPHS), seed)
    return items | ({decade.__name__: in_decades} if in_decades else {})
