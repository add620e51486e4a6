"""What one pass over all documents finds, kept as JSON for a call that goes on."""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np

from lm_objectives.data.preparation.distinct_words import DistinctWords
from lm_objectives.data.preparation.few_documents import FEW_DOCUMENTS, Cut, UnitCounts
from lm_objectives.data.preparation.notices import count
from lm_objectives.data.preparation.readers import Documents
from lm_objectives.data.preparation.split import held_out_threshold, read_keys, write_keys
from lm_objectives.data.words import training_cost
from lm_objectives.errors import expect
from lm_objectives.files import atomic_write

_BEGINS = b"\xff"  # a byte that no text in UTF-8 has

_HELD_OUT = b"\xfe"  # another one

_AT_ONCE = 2**20  # keys that are compared at once


@dataclass(frozen=True)
class CorpusScan:
    """What one pass over all documents finds.

    Attributes:
        documents: how many hold text.
        training: how many of them come before a held-out text of the user's own; all, where there is none.
        empty: how many hold none, and are left out.
        cost: of all text, as `training_cost` counts it.
        distinct: of its different words, as `DistinctWords` estimates it.
        below: documents with a key below this one are held out.
        identity: hash of all documents in their order, wherever they lie, and of where the user's held-out text begins.
        cuts: documents by number that are cut in two, the second of which is held out.
        notices: lines on what was not read, and how documents were found.
    """

    documents: int
    training: int
    empty: int
    cost: int
    distinct: int
    below: int
    identity: str
    cuts: dict[int, Cut]
    notices: list[str]

    def write(self, path: Path) -> None:
        """Write it to a file, which is there whole or not at all."""
        with atomic_write(path) as file:
            file.write(json.dumps(asdict(self)).encode())

    @staticmethod
    def read(path: Path) -> "CorpusScan":
        """The one that was written."""
        found = json.loads(path.read_text(encoding="utf-8"))
        return CorpusScan(**{**found, "cuts": {int(number): Cut(*cut) for number, cut in found["cuts"].items()}})


def scan_corpora(
    documents: Documents,
    held_out_from: int,
    share: float,
    split_seed: int,
    keys: Path,
    advance: Callable[[int], None],
) -> CorpusScan:
    """Read all documents, and decide what is held out.

    Args:
        documents: of all corpora.
        held_out_from: number of the first corpus that is held out as a whole; where there is none, a part of all is.
        share: that part.
        split_seed: chooses which documents it is.
        keys: gets the keys of the documents.
        advance: called with each further document.

    Raises:
        InputError: when a corpus cannot be read or holds no text, or nothing can be held out.
    """
    units, identity, words, cost = UnitCounts(), blake2b(digest_size=8), DistinctWords(), 0
    for piece in write_keys(units.add(documents), split_seed, keys):
        advance(piece.begins)
        cost += training_cost(piece.text)
        words.add(piece.text)
        begins = _HELD_OUT if piece.corpus >= held_out_from else _BEGINS
        identity.update(begins * piece.begins + piece.text.encode())
    corpora = [[c.name for c in documents.corpora[:held_out_from]], [c.name for c in documents.corpora[held_out_from:]]]
    counts = [sum(units.documents[number] for number in range(held_out_from) if number in units.documents)]
    counts.append(sum(units.documents.values()) - counts[0])
    for names, found_in in zip(corpora, counts, strict=True):
        expected = "documents with text"
        expect(bool(found_in) or not names, expected, f"only empty ones in {', '.join(names)}", "check the corpus")
    notices, found = [*documents.notices()], read_keys(keys)
    cuts: dict[int, Cut] = {}
    below = 0
    if corpora[1]:
        notices += _in_both(found, counts[0])
    else:
        cuts = units.cuts(share)
        one = "a corpus of two documents, two paragraphs or two lines, so that one can be held out"
        expect(counts[0] > 1 or bool(cuts), one, 1, "add text, or divide it by blank lines")
        below = held_out_threshold(found, share, cuts)
        notices += _cut_corpora(documents, units)
    name = identity.hexdigest()
    return CorpusScan(sum(counts), counts[0], documents.empty, cost, words.size(), below, name, cuts, notices)


def _cut_corpora(documents: Documents, units: UnitCounts) -> Iterator[str]:
    for number, corpus in enumerate(documents.corpora):
        if cut := len(units.cuttable(number)):
            yield (
                f"held out of {corpus.name}: the end of {count(cut, 'document')}, since it has fewer than "
                f"{FEW_DOCUMENTS}; "
                "data.documents says what a document of plain text is"
            )


def _in_both(keys: np.ndarray, training: int) -> Iterator[str]:
    """A line on documents that are trained on and held out."""
    held_out = np.array(keys[training:])
    chunks = (keys[at : min(at + _AT_ONCE, training)] for at in range(0, training, _AT_ONCE))
    both = sum(int(np.isin(chunk, held_out, kind="sort").sum()) for chunk in chunks)  # numpy 2.0's table overflows
    if both:
        said = count(both, "document")
        yield f"held-out text that is trained on: {said} of data.corpus in data.validation_corpus too"
