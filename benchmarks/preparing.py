"""What a preparation takes: memory on a corpus of any size, time on one core and on all, and time to open what it made.

    python benchmarks/preparing.py memory --times 20
    python benchmarks/preparing.py memory --config configs/recipes/gpt.yaml      without pairs
    python benchmarks/preparing.py cores

`memory` repeats a corpus (the shipped one, or --corpus), with a number before each document so that none is equal, and
runs `lm-objectives prepare` on it. It prints the largest resident memory of that process, the largest sum over it and
its children where shared pages count once (PSS, on Linux), and the time that `open_cache` takes, with and without what
it imports. `cores` encodes one corpus with one thread and with one for each core in turn, and prints the median ratio
of their times.
"""

import argparse
import gzip
import json
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

from lm_objectives.data.preparation import chunks
from lm_objectives.data.preparation.corpus import find_corpora, shipped_corpus
from lm_objectives.data.preparation.documents import DocumentPiece
from lm_objectives.data.preparation.encode import Encoder
from lm_objectives.data.preparation.plain_text import DocumentRule
from lm_objectives.data.preparation.readers import Documents
from lm_objectives.data.tokenizer import make_tokenizer, vocabulary_of

_MIB = 2**20
_UNIT = _MIB if sys.platform == "darwin" else 2**10  # of ru_maxrss in a MiB
_CONFIG = Path(__file__).parents[1] / "configs" / "quickstart.yaml"
_OPEN = """
import sys, time
started = time.perf_counter()
from lm_objectives.data.cache import open_cache
imported = time.perf_counter()
cache = open_cache(sys.argv[1])
cache.training.tokens[0]
now = time.perf_counter()
tokens = len(cache.training.tokens) + len(cache.validation.tokens)
print(f"{cache.statistics.words:,} words, {tokens:,} tokens: open in {1e3 * (now - imported):.1f} ms, ", end="")
print(f"{now - started:.2f} s with imports")
"""


def memory(corpus: str, times: int, config: str) -> None:
    """Print the largest memory of a preparation, and how soon what it has made is open."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "repeated.jsonl.gz"
        characters = repeat(corpus, times, path)
        command = [sys.executable, "-m", "lm_objectives", "prepare", "--config", config]
        settings = {"tokenizer": "8192", "corpus": str(path), "cache": scratch}
        started = time.perf_counter()
        with subprocess.Popen(
            [*command, *(word for name, value in settings.items() for word in (f"--data.{name}", value))]
        ) as run:
            shared = 0
            while run.poll() is None:
                shared = max(shared, tree_pss(run.pid))
                time.sleep(1)  # telling takes milliseconds
        seconds = time.perf_counter() - started
        if run.returncode:
            sys.exit(run.returncode)
        [made] = Path(scratch).glob("tokens-*")
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / _UNIT
        print(f"{characters / 1e6:,.0f} million characters in {seconds:.0f} s")
        print(f"largest memory: {peak:,.0f} MiB resident in one process, {shared / _MIB:,.0f} MiB PSS in all")
        for _ in range(3):
            subprocess.run([sys.executable, "-c", _OPEN, str(made)], check=True)


def repeat(corpus: str, times: int, path: Path) -> int:
    """Write a corpus so many times into one file; gives its characters."""
    characters = 0
    documents = Documents(find_corpora(corpus), "text", DocumentRule("file"))
    with gzip.open(path, "wt", encoding="utf-8", compresslevel=1) as file:
        for number in range(times):
            for piece in documents:
                characters += len(piece.text)
                file.write(json.dumps({"text": f"{number}. {piece.text}"}) + "\n")
    return characters


def tree_pss(pid: int) -> int:
    """Bytes of a process and its children, each page divided by who shares it; 0 where nothing tells."""
    total = 0
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        total += 1024 * sum(map(int, re.findall(r"^Pss: +(\d+) kB", rollup, re.MULTILINE)))
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:  # it has ended, or there is no /proc
        return total
    return total + sum(tree_pss(int(child)) for child in children.split())


def cores(corpus: str, rounds: int) -> None:
    """Print how many times as fast all cores are."""
    texts = [piece.text for piece in Documents(find_corpora(corpus), "text", DocumentRule("file"))]
    tokenizer = make_tokenizer(8192, texts)
    encoder = Encoder(tokenizer.backend_tokenizer, vocabulary_of(tokenizer), "en")
    several = [
        chunks.DocumentChunk(n, 0, {"training": [DocumentPiece(text) for text in texts[n::16]], "validation": []})
        for n in range(16)
    ]
    seconds: dict[int, list[float]] = {1: [], chunks.available_cores(): []}
    for _ in range(rounds):
        for threads, taken in seconds.items():
            patched = mock.patch.object(chunks, "available_cores", lambda n=threads: n)
            with tempfile.TemporaryDirectory() as folder, patched:
                started = time.perf_counter()
                chunks.encode_chunks(several, encoder, 8192, Path(folder), lambda documents, tokens: None)
                taken.append(time.perf_counter() - started)
    one, many = seconds[1], seconds[chunks.available_cores()]
    ratio = statistics.median(a / b for a, b in zip(one, many, strict=True))
    cores = chunks.available_cores()
    print(f"{cores} threads are {ratio:.2f} x as fast as one ({min(one):.2f} s, {min(many):.2f} s at best)")


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["memory", "cores"])
    parser.add_argument("--corpus", default=str(shipped_corpus()), help="text to read, by default the shipped corpus")
    parser.add_argument("--times", type=int, default=20, help="how often `memory` repeats it")
    parser.add_argument("--config", default=str(_CONFIG), help="whose objectives `memory` prepares for")
    parser.add_argument("--rounds", type=int, default=7, help="of `cores`")
    arguments = parser.parse_args()
    if arguments.what == "memory":
        memory(arguments.corpus, arguments.times, arguments.config)
    else:
        cores(arguments.corpus, arguments.rounds)


if __name__ == "__main__":
    main()
