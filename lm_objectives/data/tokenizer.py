"""Train, load and save tokenizers with the special tokens that corruptions need."""

import json
import logging
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lm_objectives.data.words import breaks_line, is_byte_level, starts_word
from lm_objectives.errors import InputError, expect
from lm_objectives.files import may_be_on_hub
from lm_objectives.views import Vocabulary

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

_SPECIAL = ["[PAD]", "[BOS]", "[EOS]", "[MASK]"]

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
)
"""What a fast tokenizer is saved as; the first is always there."""

_log = logging.getLogger("lm_objectives")


def make_tokenizer(
    tokenizer: int | str, texts: Iterable[str], tokens: tuple[str, ...] = ()
) -> "PreTrainedTokenizerFast":
    """A trained or a loaded tokenizer that has pad, bos, eos and mask tokens; what a loaded one lacked is logged.

    A pad that is another special token too, as in `tokenizer.pad_token = tokenizer.eos_token`, counts as lacking.

    Args:
        tokenizer: tokens in the vocabulary of a byte-level BPE to train (Sennrich et al. 2016, section 3.2; on bytes as
            in Radford et al. 2019, section 2.2), at least 260: the bytes and four special tokens; fewer come out where
            the text has too few pairs to merge. Or a folder, or a name on the hub, of a fast tokenizer.
        texts: documents that are trained on, whole or in pieces; not read for a loaded tokenizer.
        tokens: further special tokens, within the vocabulary of a trained one.

    Raises:
        InputError: when the vocabulary is too small, or the tokenizer cannot be loaded or is not a fast one.
    """
    check_tokenizer(tokenizer, tokens)
    if isinstance(tokenizer, int):
        made = _train(tokenizer, texts, tokens)
        if len(made) < tokenizer:
            _log.info("tokenizer: the text has pairs for %d of the %d tokens asked for", len(made), tokenizer)
        return made
    loaded, added = _load(tokenizer, tokens)
    if added:
        _log.info("the tokenizer %s has no %s: added", tokenizer, ", ".join(added))
    return loaded


def check_tokenizer(tokenizer: int | str, tokens: tuple[str, ...] = ()) -> str | int:
    """The setting, when it is a path, may be a name on the hub, or is a large enough vocabulary."""
    if isinstance(tokenizer, str) and not Path(tokenizer).expanduser().exists() and not may_be_on_hub(tokenizer):
        raise InputError(
            f"expected a tokenizer's folder or its name on the hub, found nothing at {tokenizer}: "
            "check the path, or give a number to train one"
        )
    special = len({*_SPECIAL, *tokens})
    smallest = 256 + special
    expected = f"a vocabulary of at least {smallest} tokens (256 bytes and {special} special tokens)"
    mend = f"set tokenizer to {smallest} or more"
    expect(not isinstance(tokenizer, int) or tokenizer >= smallest, expected, tokenizer, mend)
    most = 1 << 24
    mend = f"set tokenizer to {most} or less"
    expect(not isinstance(tokenizer, int) or tokenizer <= most, f"a vocabulary of at most {most}", tokenizer, mend)
    return tokenizer


def vocabulary_of(tokenizer: "PreTrainedTokenizerFast", tokens: tuple[str, ...] = ()) -> Vocabulary:
    """What corruptions and heads need to know of a tokenizer.

    Args:
        tokenizer: as `make_tokenizer` gives it.
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
        named_tokens=tuple((token, ids[token]) for token in tokens),
        starts_word=starts_word(tokenizer.backend_tokenizer, special, size),
        breaks_line=breaks_line(tokenizer.backend_tokenizer, size),
    )


def end_of_text(tokenizer: int | str) -> tuple[str, ...]:
    """Strings that end a text wherever they stand: GPT-2's, with which corpora are published, and a tokenizer's own."""
    own = _SPECIAL[2] if isinstance(tokenizer, int) else str(load_tokenizer(tokenizer).eos_token)
    return tuple(dict.fromkeys(["<|endoftext|>", own]))


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
        raise InputError(
            f"expected a tokenizer's folder or its name on the hub, found nothing loadable at {name}: "
            f"check the path, or give a number to train one ({reason})"
        ) from error
    expected = "a fast tokenizer, which tells where its tokens stand in a text"
    mend = "convert it to tokenizer.json"
    expect(isinstance(tokenizer, PreTrainedTokenizerFast), expected, f"a slow one at {name}", mend)
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
    # A mask stands for a token that brings its space along, so that a space in front of it is the mask's.
    added = {kind: AddedToken(token, lstrip=kind == "mask_token", special=True) for kind, token in kinds.items()}
    tokenizer.add_special_tokens({kind: added[kind] for kind, token in kinds.items() if token not in before})
    tokenizer.add_tokens([AddedToken(token, special=True, normalized=False) for token in tokens], special_tokens=True)
    after = tokenizer.get_vocab()
    add_leading_space(tokenizer.backend_tokenizer)
    return to_fast_tokenizer(tokenizer.backend_tokenizer, **kinds), sorted(
        after.keys() - before.keys(), key=after.__getitem__
    )


def add_leading_space(tokenizer: "Tokenizer") -> None:
    """Let a byte-level tokenizer read each text after one space, so that its first word is what it is elsewhere.

    Of all ways to do that this one leaves alone what follows a special token in the text.
    """
    from tokenizers import pre_tokenizers

    own = tokenizer.pre_tokenizer
    if is_byte_level(tokenizer) and own is not None and own.pre_tokenize_str("x")[0][0] == "x":
        space = pre_tokenizers.Metaspace(replacement=" ", prepend_scheme="first", split=False)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([space, own])


def to_fast_tokenizer(
    tokenizer: "Tokenizer", pad_token: str, bos_token: str, eos_token: str, mask_token: str
) -> "PreTrainedTokenizerFast":
    """A tokenizer that makes of a document what a training reads: bos, the text, eos.

    A pair of texts is bos, the first, eos, the second, eos, whose segments are 0 and 1.
    """
    from transformers import PreTrainedTokenizerFast

    set_template(tokenizer, [bos_token], [eos_token])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token=unknown_token(tokenizer),
        pad_token=pad_token,
        bos_token=bos_token,
        eos_token=eos_token,
        mask_token=mask_token,
        cls_token=bos_token,
        sep_token=eos_token,
        clean_up_tokenization_spaces=False,
    )


def set_template(tokenizer: "Tokenizer", prefix: Sequence[str], suffix: Sequence[str]) -> None:
    """Let a tokenizer put special tokens in front of each text and after it.

    Of a pair the first text has both, and the second, whose segment is 1, those after it.
    """
    from tokenizers import processors

    tokenizer.post_processor = processors.TemplateProcessing(
        single=[*prefix, "$A", *suffix],
        pair=[*prefix, "$A", *suffix, "$B:1", *(f"{token}:1" for token in suffix)],
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in dict.fromkeys((*prefix, *suffix))],
    )


def exported_tokenizer(
    tokenizer: "PreTrainedTokenizerFast", prefix: Sequence[int], suffix: Sequence[int], model_input_names: Sequence[str]
) -> "PreTrainedTokenizerFast":
    """A copy of a tokenizer for a model's folder, which makes of a text what the model reads.

    Args:
        tokenizer: as `make_tokenizer` gives it.
        prefix, suffix: ids of the special tokens in front of a text and after it.
        model_input_names: what the model takes of an encoded text.
    """
    from transformers import PreTrainedTokenizerFast

    made = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend_tokenizer,
        model_input_names=list(model_input_names),  # kept in the folder only if given here
        clean_up_tokenization_spaces=False,
        **tokenizer.special_tokens_map,
    )
    set_template(made.backend_tokenizer, *(made.convert_ids_to_tokens(list(ids)) for ids in (prefix, suffix)))
    return made


def unknown_token(tokenizer: "Tokenizer") -> str | None:
    """The token that a tokenizer's model has for what it does not know, `None` where it knows every text.

    What transformers calls so may be another one, such as GPT-2's end of text.
    """
    model = json.loads(tokenizer.to_str())["model"]
    if model.get("unk_id") is not None:  # Unigram's
        return tokenizer.id_to_token(model["unk_id"])
    token = model.get("unk_token")
    return None if token is None or tokenizer.token_to_id(token) is None else token


def read_tokenizer_files(folder: str | Path) -> dict[str, str]:
    """The text of a saved tokenizer's files by name, so that a checkpoint can hold the tokenizer as plain strings."""
    files = [Path(folder) / name for name in TOKENIZER_FILES]
    return {path.name: path.read_text(encoding="utf-8") for path in files if path.is_file()}


def same_tokens(one: Mapping[str, str] | None, other: Mapping[str, str] | None) -> bool:
    """Whether the files of two tokenizers make the same tokens of text, as far as both are known."""
    file = TOKENIZER_FILES[0]  # the others tell where it was loaded from, too
    return one is None or other is None or one.get(file) == other.get(file)


def tokenizer_from_files(files: Mapping[str, str]) -> "PreTrainedTokenizerFast":
    """The tokenizer that `read_tokenizer_files` wrote down.

    Raises:
        InputError: when a name is not that of a tokenizer's file, which a tampered checkpoint might hold, or nothing
            loads.
    """
    mend = "use a checkpoint as it was written"
    for name in files:
        expect(name in TOKENIZER_FILES, "names of a tokenizer's files", repr(name), mend)
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            (Path(folder) / name).write_text(text, encoding="utf-8")
        try:
            return load_tokenizer(folder)
        except Exception as error:
            reason = " ".join(str(error).replace(folder, "them").split())[:200]
            raise InputError(f"expected a tokenizer's files, found some that do not load ({reason}): {mend}") from error


def _train(size: int, texts: Iterable[str], tokens: tuple[str, ...]) -> "PreTrainedTokenizerFast":
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    add_leading_space(bpe)
    pad, bos, eos, mask = _SPECIAL
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[AddedToken(token, lstrip=token == mask) for token in dict.fromkeys([*_SPECIAL, *tokens])],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    return to_fast_tokenizer(bpe, pad, bos, eos, mask)
