"""Read the documents of corpora, in the order of their paths."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from lm_objectives.data.preparation.corpus import Corpus, Source, shipped_corpus
from lm_objectives.data.preparation.csv_files import csv_texts
from lm_objectives.data.preparation.documents import DocumentPiece, cut_document, drop_empty_documents
from lm_objectives.data.preparation.hf_datasets import dataset_texts
from lm_objectives.data.preparation.json_files import json_texts
from lm_objectives.data.preparation.notices import count, not_read
from lm_objectives.data.preparation.parquet_files import parquet_texts
from lm_objectives.data.preparation.plain_text import DocumentRule
from lm_objectives.errors import InputError

_READERS = {"jsonl": json_texts, "csv": csv_texts, "parquet": parquet_texts}


class Documents:
    """The documents of each corpus that hold text.

    Args:
        corpora: as `find_corpora` gives them.
        text_field: column or key of the text; plain text files have none and need none.
        rule: what a document of plain text is.

    Attributes:
        empty: documents without text in the corpora, once they have been read to their end.

    Reading raises an InputError in one line for what cannot be read, with file and place.
    """

    def __init__(self, corpora: Sequence[Corpus], text_field: str, rule: DocumentRule) -> None:
        self.corpora, self.text_field, self.rule = corpora, text_field, rule
        self.empty = 0
        self._fields: list[set[str]] = [set() for _ in corpora]
        self._splits: list[set[str]] = [set() for _ in corpora]

    def __iter__(self) -> Iterator[DocumentPiece]:
        self.empty = 0
        self.rule.seen.clear()
        for number, corpus in enumerate(self.corpora):
            pieces = chain.from_iterable(self._read(source, number) for source in corpus.sources)
            for piece in drop_empty_documents(self._count(pieces)):
                self.empty -= piece.begins
                yield piece._replace(corpus=number)
        self._check_separator()

    def notices(self) -> Iterator[str]:
        """Lines on what was not read, and on what was taken for the end of a document, once all is read."""
        for corpus, fields, splits in zip(self.corpora, self._fields, self._splits, strict=True):
            if corpus.name == str(shipped_corpus()):
                continue
            yield from not_read(corpus.name, "fields", fields, "data.text_field names the one that is read")
            mend = "name one as owner/name:config:split, or by its folder"
            yield from not_read(corpus.name, "splits", splits, mend)
            if self.rule.documents != "file" and any(source.kind != "text" for source in corpus.sources):
                yield f"each record in {corpus.name} is a document: data.documents is for plain text alone"
        if self.empty:
            yield f"left out: {count(self.empty, 'document')} without text"
        for string, times in self.rule.seen.items():
            if string != self.rule.separator:
                yield f"read {string!r} as the end of a document, {count(times, 'time')} in plain text"

    def _check_separator(self) -> None:
        """Raise where the string between documents was in no plain text; records need none."""
        plain = [c.name for c in self.corpora if any(source.kind == "text" for source in c.sources)]
        if self.rule.separator is not None and plain and not self.rule.seen[self.rule.separator]:
            raise InputError(
                "expected data.documents as file, blank-line, line or a string that stands between documents, found "
                f"{self.rule.separator!r}, which stands nowhere in {', '.join(plain)}: check it"
            )

    def _count(self, pieces: Iterable[DocumentPiece]) -> Iterator[DocumentPiece]:
        for piece in pieces:
            self.empty += piece.begins
            yield piece

    def _read(self, source: Source, number: int) -> Iterator[DocumentPiece]:
        if source.kind == "text":
            yield from chain.from_iterable(map(self.rule.read, source.files))
            return
        fields = self._fields[number]
        if read := _READERS.get(source.kind):
            texts: Iterator[str] = chain.from_iterable(read(file, self.text_field, fields) for file in source.files)
        else:
            texts = dataset_texts(source, self.text_field, fields, self._splits[number])
        for text in texts:
            yield from cut_document([text])
