"""What the pages of docs/objectives print: rows of a tiny text as objectives see them, input over target."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonargparse
import numpy as np
import torch
import yaml

from lm_objectives import Backbone, Pretraining
from lm_objectives.data.cache import TokenText
from lm_objectives.data.dataset import Batch, RowDataset, RowKey, RowSettings
from lm_objectives.objectives import Objective, ReplacedToken
from lm_objectives.views import View, Vocabulary

WINDOW = 16
DOCUMENTS = [["it rain ##ed all day .", "we stay ##ed in ."], ["price ##s rose .", "nobody mind ##ed ."]]
_SPECIAL = ["[PAD]", "[BOS]", "[EOS]", "[MASK]"]
_NAMED = [*(f"<extra_id_{number}>" for number in range(WINDOW)), "[R]", "[S]", "[X]"]
_WORDS = list(dict.fromkeys(" ".join(sentence for document in DOCUMENTS for sentence in document).split()))
TOKENS = [*_SPECIAL, *_NAMED, *_WORDS]
_IDS = {token: number for number, token in enumerate(TOKENS)}
VOCABULARY = Vocabulary(
    size=len(TOKENS),
    pad=0,
    bos=1,
    eos=2,
    mask=3,
    special=tuple(range(len(_SPECIAL) + len(_NAMED))),
    named_tokens=tuple((token, _IDS[token]) for token in _NAMED),
    starts_word=np.array([not token.startswith("##") for token in TOKENS]),
)
_CONFIGS: dict[str, dict[str, Any]] = {
    "llama": {"num_key_value_heads": 2, "tie_word_embeddings": True},
    "electra": {"embedding_size": 16},
    "t5": {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_heads": 4, "num_layers": 2},
    "bart": {"d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "max_position_embeddings": 40}
    | {"encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48},
}
_SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}


def objectives_of(config: str) -> dict[str, Objective]:
    """The objectives of a YAML block, as the command line makes them."""
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--objectives", type=dict[str, Objective])
    asked = yaml.safe_load(config)["model"]["objectives"]
    return parser.instantiate(parser.parse_object({"objectives": asked})).objectives


def module_of(config: str) -> Pretraining:
    """The objectives of a YAML block on a tiny backbone of a family that they make sense on."""
    objectives = objectives_of(config)
    family = "bart" if any(objective.corruption.uses_decoder for objective in objectives.values()) else "llama"
    family = yaml.safe_load(config)["model"].get("backbone", {}).get("model_type", family)
    sizes = {} if family in ("t5", "bart") else _SIZES
    module = Pretraining(Backbone(family, sizes | _CONFIGS.get(family, {})), objectives)
    module.build(VOCABULARY, WINDOW, 100)
    return module


def text() -> TokenText:
    """The documents, each of one paragraph."""
    tokens: list[int] = []
    sentences, paragraphs, documents = [], [0], [0]
    for document in DOCUMENTS:
        tokens.append(VOCABULARY.bos)
        for sentence in document:
            ids = [_IDS[token] for token in sentence.split()]
            sentences.append((len(tokens), len(tokens) + len(ids)))
            tokens += ids
        tokens.append(VOCABULARY.eos)
        paragraphs.append(len(sentences))
        documents.append(len(tokens))
    arrays = (np.array(values) for values in (tokens, sentences, paragraphs, documents, [0, len(tokens)]))
    found = TokenText(Path(), *arrays)
    return replace(found, pairs=found)  # its tokens have no white space that could tell anything


def batch_of(module: Pretraining, rows: range) -> Batch:
    """Rows of every objective that has its own, one document a row."""
    data = RowDataset(text(), module.sources, VOCABULARY, RowSettings(WINDOW, packing=False, steps=100), "training")
    return data.__getitems__([RowKey(name, k) for name in data.windows for k in rows])


def render(module: Pretraining, k: int) -> str:
    """Row number `k`: what is read, and below it what each objective is asked for."""
    views = batch_of(module, range(k, k + 1)).views
    lines = [f"row {k}"]
    for host in (name for name in module.names if module.sources[name].shares_rows_with is None):
        names = [host, *(name for name in module.names if module.sources[name].shares_rows_with == host)]
        cells = _read(views[host])
        if (decoder := views[host].decoder_labels) is None:
            cells |= {name if len(views) > 1 else "target": _asked(views[name], name == host) for name in names}
        if isinstance(objective := module.objectives[host], ReplacedToken):
            cells |= _filled(objective, module.backbone, views[host])
        lines += _aligned(cells)
        if decoder is not None:  # its places are its own
            lines += _aligned({"target": [TOKENS[token] for token in decoder[0] if token != VOCABULARY.pad]})
    return "\n".join(lines) + "\n"


def _read(view: View) -> dict[str, list[str]]:
    """What is read at each place, by the name of the line."""
    length = int(view.lengths[0])
    lines = {"input": [TOKENS[token] for token in view.input_ids[0, :length]]}
    if view.prefix_lengths is not None:
        lines["prefix"] = ["x" if place < view.prefix_lengths[0] else "·" for place in range(length)]
    if view.token_type_ids is not None:
        lines["segment"] = [str(int(segment)) for segment in view.token_type_ids[0, :length]]
    return lines


def _asked(view: View, judges: bool) -> list[str]:
    """What is asked at each place: a token, or a label where it `judges` pairs."""
    asked = ["·"] * int(view.lengths[0])
    for place, target in zip(view.label_positions.tolist(), view.targets.tolist(), strict=True):
        asked[place] = str(target) if judges and view.token_type_ids is not None else TOKENS[target]
    return asked


def _filled(objective: ReplacedToken, backbone: Backbone, view: View) -> dict[str, list[str]]:
    """What a generator that knows how frequent words are, and no more, makes of the row, and which tokens are other."""
    frequency = np.bincount(text().tokens, minlength=len(TOKENS)) * ~np.isin(np.arange(len(TOKENS)), VOCABULARY.special)
    with torch.no_grad():
        for parameter in objective.transform.parameters():
            parameter.zero_()
        objective.bias.copy_(torch.from_numpy(frequency).log())
        filled = objective.fill_in(view, backbone.embedding_parameters())
    length = int(view.lengths[0])
    labels = filled.extra["labels"][0, :length]
    return {"filled": [TOKENS[token] for token in filled.input_ids[0, :length]], "label": [str(int(x)) for x in labels]}


def _aligned(lines: Mapping[str, list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*lines.values(), strict=True)]
    return [
        f"{name:9}" + "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
        for name, cells in lines.items()
    ]
