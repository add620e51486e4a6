"""The text that objectives are shown on: the user's, held-out paragraphs, or built-in ones."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lm_objectives.corruptions.random import derive_seed
from lm_objectives.data.cache import TokenText
from lm_objectives.data.preparation.encode import Encoder, EncoderInput, TokenArrays
from lm_objectives.errors import InputError
from lm_objectives.views import Vocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

BUILT_IN = (
    "The river had risen in the night. By morning the lower fields were under water, and the road to the village was "
    "closed. People carried what they could to the school on the hill. Two days later the water went down, and they "
    "began to clean their houses.",
    "Bread takes little more than flour, water and salt. The dough is left to rest in a warm place. After some hours "
    "it has doubled, and is ready for the oven. A crust that sounds hollow is done.",
)
_LONGEST = 128  # tokens of a paragraph that is shown: some lines on a terminal


def given_text(text: str | None, text_file: str | None) -> str | None:
    """The user's text, or `None` where there is none.

    Raises:
        ValueError: when it is given twice, is empty, or its file cannot be read.
    """
    if text is not None and text_file is not None:
        raise InputError("expected either text or text_file, found both: leave one of them out")
    if text_file is not None:
        text = _read(Path(text_file).expanduser())
    if text is not None and not text.strip():
        raise InputError("expected a text with words, found an empty one: leave text out for a held-out paragraph")
    return text


def _read(path: Path) -> str:
    if not path.is_file():
        raise InputError(f"expected a text file at {path}, found no such file: check the path")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"expected UTF-8 text in {path}, found other bytes at offset {error.start}: convert the file"
        ) from error
    except OSError as error:
        raise InputError(
            f"expected a text file that can be read at {path}, found one that cannot ({error.strerror}): check it"
        ) from error


def held_out_paragraphs(
    cache: Path | None, tokenizer: "PreTrainedTokenizerFast", window: int, seed: int
) -> tuple[str, ...]:
    """Two paragraphs of several sentences, from two of the documents held out, or as many as there are.

    Of a paragraph that is longer than the window, those sentences that fit are taken.

    Args:
        cache: folder of the run's token cache.
        tokenizer: the one that made it.
        window: tokens of a row.
        seed: chooses the paragraphs.
    """
    if cache is None:
        return ()
    text = TokenText.open(cache / "validation")
    first, most = text.paragraphs[:-1], min(window - 3, _LONGEST)
    starts = text.sentences[first, 0]
    last = np.minimum(text.paragraphs[1:], np.searchsorted(text.sentences[:, 1], starts + most, side="right")) - 1
    stops = text.sentences[last, 1]
    fitting = np.flatnonzero((last - first >= 2) & (stops - starts >= most // 4))
    documents = np.searchsorted(text.documents, starts, side="right")
    found: list[str] = []
    while len(fitting) and len(found) < 2:
        chosen = fitting[int(derive_seed("paragraph", seed)) % len(fitting)]
        found.append(str(tokenizer.decode(text.tokens[starts[chosen] : stops[chosen]].tolist())))
        fitting = fitting[documents[fitting] != documents[chosen]]
    return tuple(found)


def tokenize(texts: Sequence[str], tokenizer: "PreTrainedTokenizerFast", vocabulary: Vocabulary) -> TokenText:
    """Texts as a corpus of so many documents.

    Raises:
        ValueError: where the tokenizer finds nothing in one.
    """
    # English rules know all scripts' full stops
    made = Encoder(tokenizer.backend_tokenizer, vocabulary, "en", pairs=True)(EncoderInput(text) for text in texts)
    if made.without_tokens:
        raise InputError("expected a text with words, found one in which the tokenizer knows none: give another text")
    assert made.pairs is not None
    return _whole(made.text, vocabulary.size, _whole(made.pairs, vocabulary.size))


def _whole(layout: TokenArrays, vocabulary_size: int, pairs: TokenText | None = None) -> TokenText:
    """A layout as a text of its own."""
    arrays = layout.arrays(vocabulary_size)
    return TokenText(
        folder=Path(),
        tokens=arrays["tokens"],
        sentences=arrays["sentences"],
        paragraphs=np.append(arrays["paragraphs"], len(arrays["sentences"])),
        documents=np.append(arrays["documents"], len(arrays["tokens"])),
        corpora=np.array([0, len(arrays["tokens"])]),
        pairs=pairs,
    )
