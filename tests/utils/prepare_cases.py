"""A small corpus, its preparation, and what came of it."""

import json
from pathlib import Path
from typing import Any

from lm_objectives.data.cache import TokenCache, TokenText
from lm_objectives.data.preparation.prepare import prepare

# Each document has a word of its own, often enough to be merged where it is seen.
# They are enough for whole ones to be held out.
WORDS = [
    "zebra",
    "quokka",
    "walrus",
    "ibex",
    "jackal",
    "python",
    "gibbon",
    "marmot",
    "otter",
    "heron",
    "bison",
    "gecko",
]
WORDS += ["panda", "moose", "tapir", "hyena", "stoat", "viper", "raven", "camel", "llama", "eagle", "koala", "dingo"]
DOCUMENTS = [f"The {word} sat. A {word} ran!\n\n{f'It is a {word}. ' * 30}" for word in WORDS]


def write(folder: Path, documents: list[str]) -> str:
    """Each document as a file."""
    folder.mkdir()
    for number, document in enumerate(documents):
        (folder / f"{number:04d}.txt").write_text(document)
    return str(folder)


def make(folder: Path, corpus: str | list[str], **settings: Any) -> Path:
    """Its cache."""
    return prepare(folder, corpus, **{"tokenizer": 300, "validation_share": 0.25, **settings})


def content(folder: Path) -> dict[str, bytes]:
    """Every file of a cache; without the time that it took."""
    files = {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}
    meta = json.loads(files["meta.json"])
    del meta["statistics"]["seconds"], meta["corpus"]
    return {**files, "meta.json": json.dumps(meta).encode()}


def texts(found: TokenCache, split: TokenText) -> list[str]:
    """The documents of a split, decoded."""
    bounds = zip(split.documents[:-1], split.documents[1:], strict=True)
    return [found.tokenizer.decode(split.tokens[start + 1 : stop - 1]) for start, stop in bounds]
