"""Documents of plain text end where the setting says, and at strings that end a text."""

from pathlib import Path

import pytest
from utils.prepare_cases import make, texts

from lm_objectives.data.cache import open_cache
from lm_objectives.data.preparation import documents as pieces
from lm_objectives.data.preparation import streams
from lm_objectives.data.preparation.corpus import find_corpora
from lm_objectives.data.preparation.plain_text import DocumentRule, check_documents
from lm_objectives.data.preparation.readers import Documents
from lm_objectives.data.tokenizer import end_of_text, make_tokenizer, save_tokenizer

END = "<|endoftext|>"


def read(path: Path, rule: DocumentRule) -> list[str]:
    found: list[str] = []
    for piece in rule.read(path):
        if piece.begins:
            found.append("")
        found[-1] += piece.text
    return found


@pytest.mark.parametrize(
    ("documents", "text", "oracle"),
    [
        ("file", "\ufeffA.\nB.\n\n \nC.\n", ["A.\nB.\n\n \nC.\n"]),
        ("file", "", [""]),
        ("file", f"A.\n{END}\nB.\n\nC.{END}D.", ["A.", "B.\n\nC.", "D."]),
        ("file", f"A.\r\n{END}\r\nB.\r\n{END}\r\n", ["A.", "B."]),
        ("file", f"{END}{END}\n", [""]),
        ("file", "A. <|endof|> B.", ["A. <|endof|> B."]),
        ("blank-line", "\ufeffA.\nB.\n\n \nC.\n", ["A.\nB.", "C."]),
        ("blank-line", "\n One.\r\nTwo.\r\n \r\n\n Three.\nFour.", [" One.\r\nTwo.", " Three.\nFour."]),
        ("blank-line", f"A.\n{END}\nB.\n\nC.{END}D.", ["A.", "B.", "C.", "D."]),
        ("line", "A.\r\n\n B. \nC.", ["A.", " B. ", "C."]),
        ("line", f"A.{END}B.\nC.", ["A.", "B.", "C."]),
        ("</doc>", "<doc>\nA.\n</doc>\n<doc>\nB.\n</doc>\n", ["<doc>\nA.", "<doc>\nB."]),
        ("</doc>", f"A.</doc>B.{END}C.", ["A.", "B.", "C."]),
        ("\n\n\n", "A.\n\nB.\n\n\nC.", ["A.\n\nB.", "C."]),
        ("= =", "= = = =", [""]),
    ],
)
@pytest.mark.parametrize("block", [1, 2, 3, 7, 2**20])
def test_documents(tmp_path: Path, documents: str, text: str, oracle: list[str], block: int) -> None:
    """Whatever is read at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streams, "BLOCK", block)
        (tmp_path / "a.txt").write_bytes(text.encode())
        rule = DocumentRule(documents, (END,))
        found = read(tmp_path / "a.txt", rule)
    assert found == oracle
    assert rule.seen[END] == text.count(END)


def test_long_texts_are_cut_where_they_always_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Oracle: `cut_document` of the text as one string."""
    monkeypatch.setattr(pieces, "MAX_PIECE", 100)
    text = "\n\n".join(f"é {number} " + "x" * number for number in range(150))
    (tmp_path / "a.txt").write_text(text)
    for block in (1, 64, 2**20):
        monkeypatch.setattr(streams, "BLOCK", block)
        assert [*DocumentRule("file", (END,)).read(tmp_path / "a.txt")] == [*pieces.cut_document([text])]


def test_a_tokenizers_own_end_of_text(tmp_path: Path) -> None:
    """Taken as an end in plain text and told, whatever its documents are; text as any other in a record."""
    save_tokenizer(make_tokenizer(300, ["a b c"]), tmp_path / "tokenizer")
    assert end_of_text(str(tmp_path / "tokenizer")) == end_of_text(300) == (END, "[EOS]")
    (tmp_path / "a.txt").write_text("".join(f"Text {number}.\n{END}\n" for number in range(30)) + "A.[EOS]B.")
    found = open_cache(make(tmp_path / "caches", str(tmp_path / "a.txt")))
    decoded = [text.strip() for split in (found.training, found.validation) for text in texts(found, split)]
    assert sorted(decoded) == sorted(["A.", "B.", *(f"Text {number}." for number in range(30))])
    documents = Documents(find_corpora(str(tmp_path / "a.txt")), "text", DocumentRule("file", end_of_text(300)))
    assert len([*documents]) == 32
    assert [*documents.notices()] == [
        f"read {END!r} as the end of a document, 30 times in plain text",
        "read '[EOS]' as the end of a document, 1 time in plain text",
    ]
    (tmp_path / "a.jsonl").write_text(f'{{"text": "A.{END}B."}}\n')
    rule = DocumentRule("file", (END,))
    assert [piece.text for piece in Documents(find_corpora(str(tmp_path / "a.jsonl")), "text", rule)] == [f"A.{END}B."]


@pytest.mark.parametrize("slip", ["lines", "File", "blank_line", "blank line", "blankline", "", " "])
def test_slips(slip: str) -> None:
    told = r"^expected data.documents as file, blank-line, line or a string that stands between documents, found '"
    with pytest.raises(ValueError, match=told):
        check_documents(slip)


@pytest.mark.parametrize("documents", ["file", "blank-line", "line", END, "</doc>", "\n\n\n", "---", "%"])
def test_settings(documents: str) -> None:
    assert check_documents(documents) == documents


def test_a_separator_that_stands_nowhere_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("A.\nB.")
    told = r"^expected data.documents as file, .* found '<eod>', which stands nowhere in .*a.txt: check it"
    with pytest.raises(ValueError, match=told):
        make(tmp_path / "caches", str(tmp_path / "a.txt"), documents="<eod>")
    assert not (tmp_path / "caches").exists()
