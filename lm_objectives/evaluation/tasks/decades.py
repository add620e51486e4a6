"""Make the items of the probe for decades: paragraphs of the shipped corpus, and when they were spoken."""

import gzip
import json
from bisect import bisect_right
from itertools import pairwise

import numpy as np

from lm_objectives.data.cache import TokenText
from lm_objectives.data.preparation.corpus import shipped_corpus
from lm_objectives.data.preparation.encode import encode_texts, plain_tokenizer
from lm_objectives.evaluation.model import EvaluatedModel
from lm_objectives.evaluation.tasks.linear_probe import ProbeItem
from lm_objectives.evaluation.tasks.probe_items import choose_items, paragraphs_of

_OPENING = 4000  # characters of a document that are encoded
_COMPARED = 256  # tokens by which a document is known: addresses begin alike
_WORDS = 10  # of a paragraph, at least
_TEST_SHARE = 0.3


def decade(model: EvaluatedModel, most: int, seed: int) -> list[ProbeItem]:
    """Paragraphs of the shipped corpus with their decades, from "1940s" to "2020s"; none where a run has another one.

    The probe is trained on paragraphs of the documents that the model was trained on, and tested on those of the
    held-out ones, so that it cannot know a speaker by a document.

    Args:
        model: a run's.
        most: items, three tenths of them to test on.
        seed: chooses them.
    """
    if model.cache is None:
        return []
    openings = _openings(model)
    items: list[ProbeItem] = []
    for text, test in ((model.cache.training, False), (model.cache.validation, True)):
        starts = text.documents.tolist()
        decades = [openings.get(_opening(text, start + 1, stop)) for start, stop in pairwise(starts)]
        found: dict[str, ProbeItem] = {}
        for first, sentences in paragraphs_of(text, model, seed) if any(decades) else ():
            document = bisect_right(starts, first) - 1
            label = decades[document]
            paragraph = " ".join(sentences)
            if label is not None and len(paragraph.split()) >= _WORDS:
                found[paragraph] = ProbeItem(paragraph, None, label, test, f"document {document}")
        share = _TEST_SHARE if test else 1 - _TEST_SHARE
        items += choose_items([*found.items()], round(share * most), seed)
    repeated = {item.text for item in items if not item.test}
    return [item for item in items if not (item.test and item.text in repeated)]


def _openings(model: EvaluatedModel) -> dict[bytes, str]:
    """The decade of each shipped document by its first tokens, which the cache has too: it keeps no names."""
    with gzip.open(shipped_corpus(), "rt", encoding="utf-8") as file:
        documents = [json.loads(line) for line in file]
    plain = plain_tokenizer(model.tokenizer.backend_tokenizer)
    encodings = encode_texts(plain, [document["text"][:_OPENING] for document in documents])
    return {
        np.array(encoding.ids[:_COMPARED], dtype=np.int64).tobytes(): f"{document['id'][:3]}0s"
        for encoding, document in zip(encodings, documents, strict=True)
    }


def _opening(text: TokenText, start: int, stop: int) -> bytes:
    return np.asarray(text.tokens[start : min(start + _COMPARED, stop - 1)]).astype(np.int64).tobytes()
