"""A small text and the objectives' sources that the tests of rows share."""

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from lm_objectives.corruptions.causal_lm import NextToken
from lm_objectives.corruptions.masked_lm import TokenMasking
from lm_objectives.corruptions.replaced_token import TokenReplacement
from lm_objectives.corruptions.sentence_order import SentenceOrderPairs
from lm_objectives.data.cache import PAIRS, TokenText
from lm_objectives.data.dataset import RowSettings
from lm_objectives.data.plan import ObjectiveRows
from lm_objectives.views import View, Vocabulary

VOCABULARY = Vocabulary(size=80, pad=0, bos=1, eos=2, mask=3, special=(0, 1, 2, 3))
WINDOW = 32
SOURCES = {
    "causal": ObjectiveRows(NextToken(), 0.4),
    "masked": ObjectiveRows(TokenMasking(), 0.3),
    "order": ObjectiveRows(SentenceOrderPairs(), 0.2),
    "replaced": ObjectiveRows(TokenReplacement(), 0.1),
    "hidden": ObjectiveRows(TokenMasking(0.2), shares_rows_with="order"),
}
NAMES = tuple(SOURCES)
SETTINGS = RowSettings(WINDOW)


def write(folder: Path, documents: int) -> TokenText:
    """Documents of three paragraphs of four short sentences, as the token cache holds them, in two corpora."""
    generator = np.random.default_rng(0)
    tokens: list[int] = []
    arrays: dict[str, list[Any]] = {"sentences": [], "paragraphs": [], "documents": [0]}
    for _ in range(documents):
        tokens.append(VOCABULARY.bos)
        for _ in range(3):
            arrays["paragraphs"].append(len(arrays["sentences"]))
            for length in generator.integers(2, 7, 4):
                arrays["sentences"].append((len(tokens), len(tokens) + length))
                tokens += generator.integers(4, VOCABULARY.size, length).tolist()
        tokens.append(VOCABULARY.eos)
        arrays["documents"].append(len(tokens))
    arrays["paragraphs"].append(len(arrays["sentences"]))
    arrays["corpora"] = [0, arrays["documents"][documents // 3], len(tokens)]
    for stream in (folder, folder / PAIRS):  # one text for both, whose sentences nothing divides
        stream.mkdir(exist_ok=True)
        np.save(stream / "tokens.npy", np.array(tokens, dtype=np.uint16))
        for name, values in arrays.items():
            np.save(stream / f"{name}.npy", np.array(values, dtype=np.int64))
    return TokenText.open(folder)


def tensors(view: View) -> dict[str, Any]:
    return {name: value.tolist() if isinstance(value, Tensor) else value for name, value in vars(view).items()}
