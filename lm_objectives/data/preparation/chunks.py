"""Encode documents in parallel, in chunks of which each is a file, and put the chunks together."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.lib import format as npy

from lm_objectives.data.cache import PAIRS, SPLITS
from lm_objectives.data.preparation.documents import DocumentPiece
from lm_objectives.data.preparation.encode import Encoder
from lm_objectives.files import atomic_write

_CHUNK = 2**20  # characters, about; the same for any number of cores

_MOST_THREADS = 16  # more would wait for one another, and each holds a chunk

_COUNTS = ("words", "characters", "bytes", "unspaced", "unknown", "without_tokens")


@dataclass(frozen=True)
class DocumentChunk:
    """Some successive documents of one corpus, by split.

    Attributes:
        number: its place among all chunks.
        corpus: number of the corpus.
    """

    number: int
    corpus: int
    parts: dict[str, list[DocumentPiece]] = field(repr=False)


def chunk_documents(pieces: Iterable[tuple[bool, DocumentPiece]]) -> Iterator[DocumentChunk]:
    """Group documents, each piece with whether it is held out, into chunks of a size that depends on them alone."""
    number = size = 0
    parts: dict[str, list[DocumentPiece]] = {split: [] for split in SPLITS}
    ahead = chain(pieces, [None])
    following = next(ahead)
    while following is not None:
        (held_out, piece), following = following, next(ahead)
        size += len(piece.text)
        ends = following is None or following[1].begins
        parts[SPLITS[held_out]].append(piece._replace(ends=ends))
        if following is None or size >= _CHUNK or following[1].corpus != piece.corpus:
            yield DocumentChunk(number, piece.corpus, parts)
            number, size, parts = number + 1, 0, {split: [] for split in SPLITS}


def encode_chunks(
    chunks: Iterable[DocumentChunk], encoder: Encoder, size: int, folder: Path, report: Callable[[int, int], None]
) -> None:
    """Encode chunks on all cores, each into a file of `folder`; those that are there whole are left alone.

    Threads rather than processes: the tokenizer works outside of Python's lock, and a thread needs no second copy of
    anything, no guard in the user's script, and no fork of a process that has threads.

    Args:
        chunks: read as they are needed, so that memory holds about two for each core.
        encoder: makes tokens of a chunk.
        size: tokens in the vocabulary.
        folder: gets `000000.npz` and so on, each in its place only when it is whole.
        report: called with documents and tokens of each chunk as it is finished.
    """

    def encode(chunk: DocumentChunk) -> tuple[int, int]:
        path = folder / f"{chunk.number:06d}.npz"
        try:
            with np.load(path) as found:
                tokens = sum(len(found[f"{split}/tokens"]) for split in SPLITS)
        except (OSError, EOFError, ValueError, BadZipFile):  # not there, or not whole
            arrays: dict[str, Any] = {"corpus": chunk.corpus}
            for split, parts in chunk.parts.items():
                made = encoder(parts)
                for stream, encoded in {split: made.text, f"{split}/{PAIRS}": made.pairs}.items():
                    if encoded is not None:
                        arrays |= {f"{stream}/{name}": array for name, array in encoded.arrays(size).items()}
                arrays[f"{split}/counts"] = np.array([made.counts[name] for name in _COUNTS])
            with atomic_write(path) as file:
                np.savez(file, **arrays)
            tokens = sum(len(arrays[f"{split}/tokens"]) for split in SPLITS)
        return sum(part.begins for parts in chunk.parts.values() for part in parts), tokens

    threads = min(available_cores(), _MOST_THREADS)
    waiting: deque[Future[tuple[int, int]]] = deque()
    with _one_thread_each(), ThreadPoolExecutor(threads) as pool:
        try:
            for chunk in chunks:
                waiting.append(pool.submit(encode, chunk))
                while len(waiting) > threads:
                    report(*waiting.popleft().result())
            while waiting:
                report(*waiting.popleft().result())
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def write_array(path: Path, parts: Iterable[np.ndarray]) -> None:
    """Write arrays as one `.npy` file, one after another along the first axis, so that memory holds one at a time.

    The header is written again at the end; numpy leaves room in it for a first axis of any length. Unlike `numpy.save`,
    a full disk is an error with its number.

    Args:
        path: the file, made anew.
        parts: at least one, of the dtype and row shape of the first.
    """
    parts, length = iter(parts), 0
    first = next(parts)

    def write_header() -> None:
        file.seek(0)
        header = {"descr": npy.dtype_to_descr(first.dtype), "fortran_order": False, "shape": (length, *first.shape[1:])}
        npy.write_array_header_1_0(file, header)

    with path.open("wb") as file:
        write_header()
        for part in chain([first], parts):
            file.write(part.astype(first.dtype, casting="safe").tobytes())
            length += len(part)
        write_header()


def join_chunks(files: list[Path], corpora: range, folder: Path, stream: str) -> None:
    """Put a stream of the chunks together.

    Args:
        files: of the chunks, in their order.
        corpora: numbers of those that the stream is of.
        folder: gets the arrays of `views.Text` as `.npy` files, and `corpora.npy`, where each corpus starts in the
            tokens and where the last one stops.
        stream: training or validation, or the sentences of one.
    """

    def join(name: str, starts: np.ndarray | None = None, close: bool = False) -> np.ndarray:
        """Write an array, its numbers counted on from each chunk's start; where its own chunks start and stop."""
        lengths = [0]

        def parts() -> Iterator[np.ndarray]:
            for number, path in enumerate(files):
                with np.load(path) as found:
                    part = found[f"{stream}/{name}"]
                lengths.append(len(part))
                yield part if starts is None else part + starts[number]
            if close and starts is not None:
                yield starts[-1:]

        write_array(folder / f"{name}.npy", parts())
        return np.cumsum(lengths)

    folder.mkdir()
    tokens = join("tokens")
    sentences = join("sentences", tokens)
    join("paragraphs", sentences, close=True)
    join("documents", tokens, close=True)
    numbers = []
    for path in files:
        with np.load(path) as found:
            numbers.append(int(found["corpus"]))
    write_array(folder / "corpora.npy", [tokens[np.searchsorted(numbers, range(corpora.start, corpora.stop + 1))]])


def add_counts(files: list[Path], split: str) -> dict[str, int]:
    """The counts of a split over all chunks."""
    totals = np.zeros(len(_COUNTS), dtype=np.int64)
    for path in files:
        with np.load(path) as found:
            totals += found[f"{split}/counts"]
    return dict(zip(_COUNTS, totals.tolist(), strict=True))


def available_cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Keep the tokenizer from using all cores within each of our threads; it asks the environment at every call."""
    before = os.environ.get("TOKENIZERS_PARALLELISM")
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    try:
        yield
    finally:
        if before is None:
            del os.environ["TOKENIZERS_PARALLELISM"]
        else:
            os.environ["TOKENIZERS_PARALLELISM"] = before
