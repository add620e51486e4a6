"""Which text is shown: the user's, held-out paragraphs, or nothing but one clear line."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from lm_objectives.demo.texts import given_text, held_out_paragraphs, tokenize
from lm_objectives.training.run import load_run


def test_a_text_comes_from_the_command_line_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("\ufeffÜber den Fluß.\n".encode())
    assert given_text(None, str(tmp_path / "a.txt")) == "Über den Fluß.\n"
    assert given_text("It rained.", None) == "It rained."
    assert given_text(None, None) is None


@pytest.mark.parametrize(
    ("text", "content", "message"),
    [
        (" ", None, "^expected a text with words, found an empty one: leave text out"),
        (None, None, "^expected a text file at .*a.txt, found no such file: check the path"),
        (None, b"\n \n", "^expected a text with words, found an empty one"),
        (None, b"abc\xff", "^expected UTF-8 text in .*a.txt, found other bytes at offset 3: convert"),
        ("Both.", b"Both.", "^expected either text or text_file, found both: leave one"),
    ],
)
def test_what_is_no_text_is_one_clear_line(
    text: str | None, content: bytes | None, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as raised:
        given_text(text, str(path) if content is not None or text is None else None)
    assert "\n" not in str(raised.value)


def test_held_out_paragraphs_are_held_out_fit_and_are_of_two_documents(tiny_run: Path) -> None:
    run = load_run(str(tiny_run))
    assert run.cache is not None
    texts = np.load(run.cache / "validation" / "tokens.npy")
    starts = np.load(run.cache / "validation" / "documents.npy").tolist()
    documents = [run.tokenizer.decode(texts[start:stop]) for start, stop in pairwise(starts)]
    chosen = held_out_paragraphs(run.cache, run.tokenizer, 32, seed=3)
    assert len(chosen) == min(2, len(documents))
    homes = [[number for number, text in enumerate(documents) if paragraph in text] for paragraph in chosen]
    assert all(homes) and len({home[0] for home in homes}) == len(chosen)
    assert all(len(run.tokenizer(paragraph)["input_ids"]) <= 29 for paragraph in chosen)
    assert held_out_paragraphs(run.cache, run.tokenizer, 8, seed=3) == ()
    assert held_out_paragraphs(None, run.tokenizer, 32, seed=3) == ()


def test_a_paragraph_longer_than_the_window_is_cut_behind_a_sentence(tiny_run: Path, tmp_path: Path) -> None:
    """Oracle: three sentences of 5 tokens in a window of 3 + 17."""
    run = load_run(str(tiny_run))
    (tmp_path / "validation").mkdir()
    starts = np.arange(20) * 5 + 1
    arrays = {"tokens": np.arange(102) + 10, "sentences": np.stack([starts, starts + 5], axis=1)}
    arrays |= {"paragraphs": np.array([0, 20]), "documents": np.array([0, 102]), "corpora": np.array([0, 102])}
    for name, array in arrays.items():
        np.save(tmp_path / "validation" / f"{name}.npy", array)
    assert held_out_paragraphs(tmp_path, run.tokenizer, 20, seed=0) == (run.tokenizer.decode(range(11, 26)),)
    assert held_out_paragraphs(tmp_path, run.tokenizer, 17, seed=0) == ()


def test_texts_are_tokenized_as_documents(tiny_run: Path) -> None:
    run = load_run(str(tiny_run))
    vocabulary = run.module.vocabulary
    text = tokenize(["It rained. We stayed in.", "Bread."], run.tokenizer, vocabulary)
    assert len(text.documents) == 3 and len(text.sentences) == 3
    assert [int(text.tokens[at]) for at in text.documents[:-1]] == [vocabulary.bos] * 2
    assert [int(text.tokens[at - 1]) for at in text.documents[1:]] == [vocabulary.eos] * 2
