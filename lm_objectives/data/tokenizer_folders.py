"""Load a fast tokenizer from a folder, also of older kinds of files, or from the hub."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from lm_objectives.errors import InputError, expect, one_line
from lm_objectives.files import may_be_on_hub

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

SPECIAL = ["[PAD]", "[BOS]", "[EOS]", "[MASK]"]
"""Tokens that a tokenizer gets for the roles in which it has none."""

_IS_VALUE = re.compile(r"true|false|null|none|[+-]?(nan|inf|\.inf|\.nan|[\d.]+(e[+-]?\d+)?)|", re.IGNORECASE)

_READ = (".json", ".txt", ".model", ".jinja")

_MOST_IDS = 2**22

_MOST_GAPS = 2**16  # ids without a token, where there are not as many tokens

_GROWTH, _INSERTED = 64, 1024  # times that a normalizer may lengthen a text, characters that it may put in at once

_SAVE = "save it as tokenizer.json with save_pretrained of a fast tokenizer, where its library is"


def check_tokenizer(tokenizer: int | str, tokens: tuple[str, ...] = (), add_tokens: Sequence[str] = ()) -> str | int:
    """The setting, when it is a path, may be a name on the hub, or is a large enough vocabulary."""
    loaded = "a pretrained tokenizer that data.add_tokens can add to"
    expect(
        not (add_tokens and isinstance(tokenizer, int)), loaded, tokenizer, "a trained one finds its own: leave it out"
    )
    texts = all(isinstance(token, str) and token.strip() for token in add_tokens)
    expect(texts, "data.add_tokens as a list of texts", [*add_tokens], "leave out what is empty")
    if isinstance(tokenizer, str):
        expected = "data.tokenizer as a number, a folder or a name on the hub"
        expect(not _IS_VALUE.fullmatch(tokenizer), expected, repr(tokenizer), "4096 trains one of so many tokens")
        check_regular_files(Path(tokenizer).expanduser())
    if isinstance(tokenizer, str) and not Path(tokenizer).expanduser().exists() and not may_be_on_hub(tokenizer):
        raise InputError(
            f"expected a tokenizer's folder or its name on the hub, found nothing at {tokenizer}: "
            "check the path, or give a number to train one"
        )
    special = len({*SPECIAL, *tokens})
    smallest = 256 + special
    expected = f"a vocabulary of at least {smallest} tokens (256 bytes and {special} special tokens)"
    mend = f"set tokenizer to {smallest} or more"
    expect(not isinstance(tokenizer, int) or tokenizer >= smallest, expected, tokenizer, mend)
    most = 1 << 24
    mend = f"set tokenizer to {most} or less"
    expect(not isinstance(tokenizer, int) or tokenizer <= most, f"a vocabulary of at most {most}", tokenizer, mend)
    return tokenizer


def read_tokenizer(name: str) -> "PreTrainedTokenizerFast":
    """The fast tokenizer of a folder or of a name on the hub, as it is there.

    Raises:
        InputError: where nothing loads, it is a slow one, or it cannot be used in bounded memory.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    path = Path(name).expanduser()
    check_regular_files(path)
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            str(path) if path.exists() else name, use_fast=True, trust_remote_code=False
        )
    except Exception as error:
        files = sorted(file.name for file in path.iterdir()) if path.is_dir() else ["…"]
        expect(bool(files), f"a tokenizer.json in {path}", "an empty folder", "check the path, or " + _SAVE)
        other = _read_parts(path) if path.is_dir() else None
        if other is None:
            reason = " ".join(str(error).split())[:200]
            raise InputError(
                f"expected a tokenizer's folder or its name on the hub, found nothing loadable at {name}: "
                f"check the path, or give a number to train one ({reason})"
            ) from error
        tokenizer = other
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise InputError(
            "expected a fast tokenizer, which tells where its tokens stand in a text, found a slow one at "
            f"{name}: {_SAVE}"
        )
    _check_ids(tokenizer.get_vocab(), name)
    _check_growth(tokenizer.backend_tokenizer, name)
    return tokenizer


def check_regular_files(path: Path) -> None:
    """Raise where a pipe or a device stands in a file's place, which might never end."""
    for file in [path, *(path.iterdir() if path.is_dir() else [])]:
        read = file == path or file.suffix in _READ
        wrong = read and file.exists() and not file.is_file() and not file.is_dir()
        expect(not wrong, "a tokenizer in regular files", f"a pipe or device at {file}", "put a copy of the file there")


def _read_parts(folder: Path) -> "PreTrainedTokenizerFast | None":
    """The tokenizer whose vocabulary alone lies in a folder; `None` where there is none."""
    from transformers import BertTokenizer, GPT2Tokenizer

    words, letters, merges = (folder / name for name in ("vocab.txt", "vocab.json", "merges.txt"))
    models = sorted(folder.glob("*.model"))
    try:
        if (folder / "tokenizer.json").exists():
            return None
        if letters.is_file() or merges.is_file():
            for one, other in ((letters, merges), (merges, letters)):
                mend = f"put the one next to the other, or {_SAVE}"
                expect(one.is_file(), f"{one.name} next to {other.name} in {folder}", "none", mend)
            vocabulary = json.loads(letters.read_text(encoding="utf-8"))
            lines = [line for line in merges.read_text(encoding="utf-8").splitlines() if line]
            pairs: Any = [tuple(line.split(" ")) for line in lines if not line.startswith("#version")]
            return GPT2Tokenizer(vocab=vocabulary, merges=pairs)
        if words.is_file():
            tokens = words.read_text(encoding="utf-8").split("\n")
            numbered = {token.rstrip("\r"): number for number, token in enumerate(tokens) if token}
            lower = all(token == token.lower() for token in numbered if not token.startswith("["))
            return BertTokenizer(vocab=numbered, do_lower_case=lower)
    except InputError:
        raise
    except Exception as error:  # of the library, or a file that is something else
        raise InputError(f"expected a vocabulary in {folder}, found none ({one_line(error)}): {_SAVE}") from error
    return _read_sentencepiece(models[0]) if models else None


def _read_sentencepiece(file: Path) -> "PreTrainedTokenizerFast":
    """The tokenizer of a sentencepiece model, with the special tokens that it names, and BERT's where it has them."""
    from transformers import PreTrainedTokenizerFast
    from transformers.convert_slow_tokenizer import SpmConverter

    try:
        converter = SpmConverter(SimpleNamespace(vocab_file=str(file)))
        made = converter.converted()
    except ImportError as error:
        raise InputError(
            f"expected tokenizer.json in {file.parent}, found {file.name} alone: "
            f"pip install sentencepiece protobuf to read it, or {_SAVE}"
        ) from error
    except Exception as error:  # protobuf's, or the library's
        raise InputError(
            f"expected a sentencepiece model at {file}, found none ({one_line(error)[:200]}): {_SAVE}"
        ) from error
    spec = converter.proto.trainer_spec
    names = {"unk_token": spec.unk_piece, "bos_token": spec.bos_piece, "eos_token": spec.eos_piece}
    names |= {"pad_token": spec.pad_piece, "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    known: dict[str, Any] = {kind: token for kind, token in names.items() if made.token_to_id(token) is not None}
    return PreTrainedTokenizerFast(tokenizer_object=made, **known)


def _check_ids(ids: dict[str, int], name: str) -> None:
    """Raise where an embedding of all ids would be large for nothing."""
    largest = max(ids.values(), default=0)
    mend = "number its tokens from 0 on without large gaps"
    expect(largest < _MOST_IDS, f"a tokenizer's ids below {_MOST_IDS:,} at {name}", f"{largest:,}", mend)
    gaps = largest + 1 - len(ids)
    expected = f"a tokenizer whose ids have few gaps at {name}"
    expect(gaps <= max(len(ids), _MOST_GAPS), expected, f"{gaps:,} without a token", mend)


def _check_growth(tokenizer: "Tokenizer", name: str) -> None:
    """Raise where a tokenizer's normalizer makes a short text very long: what it makes is held in memory.

    Each of its steps is tried by itself on the letters that it looks for, so that no step can blow up what a step
    before it did.
    """
    from tokenizers import Tokenizer, models

    plan = json.loads(tokenizer.to_str())["normalizer"]
    steps = [*_steps(plan)] if plan else []
    expected = f"a normalizer that makes a text at most {_GROWTH} times as long at {name}"
    mend = "take the step out of its tokenizer.json"
    for step in steps:
        inserted = max(len(str(step.get(key) or "")) for key in ("content", "prepend"))
        expect(inserted <= _INSERTED, expected, f"one that puts in {inserted:,} characters", mend)
    empty = json.loads(Tokenizer(models.BPE()).to_str())
    sought = "".join(
        str(text) for step in steps if isinstance(step.get("pattern"), dict) for text in step["pattern"].values()
    )
    text = (sought + "".join(map(chr, range(32, 127))))[:_INSERTED]
    before = len(text)
    for step in steps:
        made = Tokenizer.from_str(json.dumps({**empty, "normalizer": step})).normalizer
        text = made.normalize_str(text) if made is not None else text
        found = len(text) / before
        expect(found <= _GROWTH, expected, f"one that makes it {found:,.0f} times as long", mend)


def _steps(plan: dict[str, Any]) -> "list[dict[str, Any]]":
    """A normalizer's steps one after another."""
    if plan.get("type") != "Sequence":
        return [plan]
    return [step for part in plan["normalizers"] for step in _steps(part)]
