"""The tokenizer, its special tokens made sure of once, and what corruptions need to know of it."""

import logging
import re
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lm_objectives.corruption.base import Vocabulary
from lm_objectives.data.hub import may_be_on_hub
from lm_objectives.data.words import starts_word

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_SPECIAL = ["[PAD]", "[BOS]", "[EOS]", "[MASK]"]
_BYTES = 256
_TEXT_FILES = (".json", ".txt", ".jinja")  # what a fast tokenizer is saved as

_log = logging.getLogger("lm_objectives")


def make_tokenizer(
    tokenizer: int | str, pieces: Iterable[str], tokens: tuple[str, ...] = ()
) -> "PreTrainedTokenizerFast":
    """A trained or a loaded tokenizer that has pad, bos, eos and mask tokens; what a loaded one lacked is logged.

    A pad that is another special token too, as in `tokenizer.pad_token = tokenizer.eos_token`, counts as lacking.

    Args:
        tokenizer: tokens in the vocabulary of a byte-level BPE to train (Sennrich et al. 2016, section 3.2; on bytes as
            in Radford et al. 2019, section 2.2), at least 260: the bytes and four special tokens; fewer come out where
            the text has too few pairs to merge. Or a folder, or a name on the hub, of a fast tokenizer.
        pieces: what is trained on, each cut and led in as it will be encoded (see `data.encoding.training_pieces`); not
            read for a loaded tokenizer.
        tokens: further special tokens, within the vocabulary of a trained one.

    Raises:
        ValueError: when the vocabulary is too small, or the tokenizer cannot be loaded or is not a fast one.
    """
    checked_tokenizer(tokenizer, tokens)
    if isinstance(tokenizer, int):
        made = _train(tokenizer, pieces, tokens)
        if len(made) < tokenizer:
            _log.info("tokenizer: the text has pairs for %d of the %d tokens asked for", len(made), tokenizer)
        return made
    loaded, added = _load(tokenizer, tokens)
    if added:
        _log.info("the tokenizer %s has no %s: added", tokenizer, ", ".join(added))
    return loaded


def checked_tokenizer(tokenizer: int | str, tokens: tuple[str, ...] = ()) -> str | int:
    """The setting, when it is a path, may be a name on the hub, or is a large enough vocabulary."""
    if isinstance(tokenizer, str) and not Path(tokenizer).expanduser().exists() and not may_be_on_hub(tokenizer):
        raise ValueError(
            f"expected a tokenizer's folder or its name on the hub, found nothing at {tokenizer}; "
            "check the path, or give a number to train one"
        )
    special = len({*_SPECIAL, *tokens})
    smallest = _BYTES + special
    if isinstance(tokenizer, int) and tokenizer < smallest:
        raise ValueError(
            f"expected a vocabulary of at least {smallest} tokens (256 bytes and {special} special tokens), "
            f"found {tokenizer}; set tokenizer to {smallest} or more"
        )
    return tokenizer


def vocabulary_of(
    tokenizer: "PreTrainedTokenizerFast", unigram_counts: np.ndarray | None, tokens: tuple[str, ...] = ()
) -> Vocabulary:
    """What corruptions and heads need to know of a tokenizer.

    Args:
        tokenizer: as `make_tokenizer` gives it.
        unigram_counts: how often each token comes in the training documents, `(vocab,)`.
        tokens: the further special tokens that it was made with.
    """
    special = {*tokenizer.all_special_ids} | {
        token for token, added in tokenizer.added_tokens_decoder.items() if added.special
    }
    # Ids may have gaps, so that the largest counts and not their number.
    ids = tokenizer.get_vocab()
    size = max(ids.values()) + 1
    return Vocabulary(
        size=size,
        pad=tokenizer.pad_token_id,
        bos=tokenizer.bos_token_id,
        eos=tokenizer.eos_token_id,
        mask=tokenizer.mask_token_id,
        special=tuple(sorted(special)),
        named=tuple((token, ids[token]) for token in tokens),
        starts_word=starts_word(tokenizer.backend_tokenizer, special, size),
        unigram=None if unigram_counts is None else unigram_nats(unigram_counts),
    )


def unigram_nats(counts: np.ndarray) -> np.ndarray:
    """Nats of each token under add-one smoothing over the whole vocabulary: -ln((n + 1) / (sum of n + V))."""
    return np.log(counts.sum() + len(counts)) - np.log(counts + 1.0)


def load_tokenizer(name: str) -> "PreTrainedTokenizerFast":
    """The fast tokenizer of a folder or of a name on the hub, given the special tokens that it lacks."""
    return _load(name, ())[0]


def save_tokenizer(tokenizer: "PreTrainedTokenizerFast", folder: Path) -> None:
    """Write a tokenizer's files into a folder; a disk that does not take them is an OSError, as everywhere."""
    try:
        tokenizer.save_pretrained(folder)
    except Exception as error:
        if found := re.search(r"(.*) \(os error (\d+)\)", str(error)):  # as Rust says it
            raise OSError(int(found[2]), found[1]) from error
        raise


def _load(name: str, tokens: tuple[str, ...]) -> tuple["PreTrainedTokenizerFast", list[str]]:
    """The tokenizer, and the special tokens that were added to it: those it lacked, and a pad of its own alone."""
    from tokenizers import AddedToken
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    path = Path(name).expanduser()
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            str(path) if path.exists() else name, use_fast=True, trust_remote_code=False
        )
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"expected a tokenizer's folder or its name on the hub, found nothing loadable at {name}; "
            f"check the path, or give a number to train one ({reason})"
        ) from error
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise ValueError(f"expected a fast tokenizer, found a slow one at {name}; convert it to tokenizer.json")
    before = tokenizer.get_vocab()
    others = {tokenizer.bos_token, tokenizer.eos_token, tokenizer.unk_token, tokenizer.mask_token}
    others |= {tokenizer.cls_token, tokenizer.sep_token}
    found = {  # a pad that has another role too would have positions and vectors depend on where that other stands
        "pad_token": None if tokenizer.pad_token in others else tokenizer.pad_token,
        "bos_token": tokenizer.bos_token or tokenizer.cls_token,
        "eos_token": tokenizer.eos_token or tokenizer.sep_token,
        "mask_token": tokenizer.mask_token,
    }
    kinds = {kind: token or new for (kind, token), new in zip(found.items(), _SPECIAL, strict=True)}
    tokenizer.add_special_tokens({kind: token for kind, token in kinds.items() if getattr(tokenizer, kind) != token})
    tokenizer.add_tokens([AddedToken(token, special=True, normalized=False) for token in tokens], special_tokens=True)
    after = tokenizer.get_vocab()
    return tokenizer, sorted(after.keys() - before.keys(), key=after.__getitem__)


def read_tokenizer_files(folder: str | Path) -> dict[str, str]:
    """The text of a saved tokenizer's files by name, so that a checkpoint can hold the tokenizer as plain strings."""
    files = sorted(path for path in Path(folder).iterdir() if path.suffix in _TEXT_FILES)
    return {path.name: path.read_text(encoding="utf-8") for path in files}


def tokenizer_from_files(files: Mapping[str, str]) -> "PreTrainedTokenizerFast":
    """The tokenizer that `read_tokenizer_files` wrote down.

    Raises:
        ValueError: when a name is not that of a plain file, which a tampered checkpoint might hold, or nothing loads.
    """
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            if Path(name).name != name or Path(name).suffix not in _TEXT_FILES:
                raise ValueError(f"expected names of a tokenizer's files, found {name!r}: use a checkpoint you trust")
            (Path(folder) / name).write_text(text, encoding="utf-8")
        return load_tokenizer(folder)


def _train(size: int, pieces: Iterable[str], tokens: tuple[str, ...]) -> "PreTrainedTokenizerFast":
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=list(dict.fromkeys([*_SPECIAL, *tokens])),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator(pieces, trainer)
    pad, bos, eos, mask = _SPECIAL
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token=pad,
        bos_token=bos,
        eos_token=eos,
        mask_token=mask,
        clean_up_tokenization_spaces=False,
    )
