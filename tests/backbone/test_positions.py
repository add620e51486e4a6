"""Where a row's positions begin, in families that count them by the ids of a row and in all others."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM
from utils.families import COUNTING, FAMILIES, SEQ2SEQ, VOCABULARY, built, some_ids, view_of

from lm_objectives.backbone.backbone import Backbone
from lm_objectives.backbone.equal_logits import equal_logits
from lm_objectives.backbone.positions import position_counting
from lm_objectives.export.heads import to_hf
from lm_objectives.objectives import MaskedLM
from lm_objectives.views import Vocabulary

PADS = [replace(VOCABULARY, pad=pad) for pad in (0, VOCABULARY.eos, 66)]  # 66 lies beyond the table of positions


@pytest.mark.parametrize("family", [*FAMILIES, *SEQ2SEQ, *COUNTING[1:]])
def test_who_counts_by_ids_is_found_by_trying(family: str) -> None:
    """Oracle: whose code in transformers calls `create_position_ids_from_input_ids`."""
    found = position_counting(built(family).config)
    expected = "by ids unless given" if family in COUNTING else "by ids" if family == "m2m_100" else "by place"
    assert found == expected


@pytest.mark.parametrize("family", COUNTING)
def test_positions_are_the_same_whatever_the_id_of_the_padding(family: str) -> None:
    """Oracle: one set of weights under three vocabularies, over text that holds the id of each padding."""
    ids = some_ids()
    ids[0, 3], ids[1, 5], ids[0, 7] = VOCABULARY.eos, 66, 0
    states, weights = [], built(family, vocabulary=PADS[0]).model.state_dict()
    for vocabulary in PADS:
        backbone = built(family, vocabulary=vocabulary)
        backbone.model.load_state_dict(weights)
        states.append(backbone.double().encode([view_of(ids, "bidirectional")])[0])
    for other in states[1:]:
        torch.testing.assert_close(other, states[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("family", [*COUNTING, "bert", "llama"])
@pytest.mark.parametrize("vocabulary", PADS)
def test_a_rows_states_do_not_depend_on_the_rows_beside_it(family: str, vocabulary: Vocabulary) -> None:
    """Oracle: each row alone, of a micro-batch in which another is padded and both hold boundaries."""
    backbone, ids = built(family, vocabulary=vocabulary).double(), some_ids(3)
    ids[:, 4], ids[2, 7:] = vocabulary.eos, vocabulary.pad
    attention: Any = "causal" if family == "llama" else "bidirectional"
    [together] = backbone.encode([view_of(ids, attention, [12, 12, 7])])
    for row, length in enumerate([12, 12, 7]):
        [alone] = backbone.encode([view_of(ids[row : row + 1, :length], attention)])
        torch.testing.assert_close(together[row, :length], alone[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("vocabulary", PADS)
def test_a_table_holds_as_many_places_whatever_the_id_of_the_padding(vocabulary: Vocabulary) -> None:
    built("roberta", 19, vocabulary=vocabulary, max_position_embeddings=20)
    for rows, most in ((20, 19), (1, 0)):
        with pytest.raises(
            ValueError, match=f"^expected data.seq_len of at most {most}, the positions of this roberta"
        ):
            built("roberta", 20, vocabulary=vocabulary, max_position_embeddings=rows)


@pytest.mark.parametrize("family", COUNTING)
def test_the_vector_of_the_padding_alone_does_not_learn(family: str) -> None:
    """Oracle: autograd; and a fresh vector is drawn wide for every token but the padding."""
    backbone, ids = built(family, vocabulary=PADS[2]), torch.arange(55, 67)[None]
    assert not backbone.embedding[66].any()
    assert backbone.embedding[:66].any(1).all()
    backbone.encode([view_of(ids, "bidirectional")])[0].square().sum().backward()
    moved = backbone.embedding.grad.any(1)  # type: ignore[union-attr]
    assert moved.nonzero().flatten().tolist() == list(range(55, 66))


@pytest.mark.parametrize("pad", [1, 66])
def test_a_folder_keeps_its_own_first_position(pad: int, tmp_path: Path) -> None:
    """Oracle: the folder's model run by transformers, whose padding is 1 and which counts from 2."""
    config = AutoConfig.for_model("roberta", **FAMILIES["roberta"] | {"vocab_size": 67, "pad_token_id": 1})
    AutoModelForMaskedLM.from_config(config).save_pretrained(tmp_path)
    backbone, ids = Backbone(pretrained=str(tmp_path)), some_ids()
    backbone.setup(replace(VOCABULARY, pad=pad, bos=0), 12)
    theirs = AutoModel.from_pretrained(tmp_path, add_pooling_layer=False).eval()
    with torch.no_grad():
        [ours] = backbone.eval().encode([view_of(ids, "bidirectional")])
        torch.testing.assert_close(ours, theirs(input_ids=ids).last_hidden_state, rtol=1e-5, atol=1e-6)
        again = Backbone("roberta")
        again.load_architecture(backbone.architecture())
        again.setup(backbone.vocabulary, 12)
        again.model.load_state_dict(backbone.model.state_dict())
        assert torch.equal(again.eval().encode([view_of(ids, "bidirectional")])[0], ours)
    assert backbone.model.get_input_embeddings().padding_idx == pad


@pytest.mark.parametrize("pad", [0, 1, 66])
def test_an_exported_model_counts_from_the_padding_and_gives_the_same(pad: int, tmp_path: Path) -> None:
    """Oracle: transformers, which reads the folder and computes positions from ids, padding on either side."""
    vocabulary = replace(VOCABULARY, pad=pad, bos=4)
    backbone, objective = built("roberta", vocabulary=vocabulary), MaskedLM()
    objective.setup(backbone, vocabulary)
    made = to_hf(objective.eval(), backbone, None)[""]
    assert equal_logits(backbone, "bidirectional", False, made.model, made.outputs)
    made.model.save_pretrained(tmp_path)
    theirs, loaded = AutoModelForMaskedLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(loaded.values())
    assert not hasattr(theirs.config, "first_position")
    ids = some_ids(1, 9).clamp(5, 65)
    row = torch.cat([torch.full((1, 3), pad), ids], 1)
    with torch.no_grad():
        [hidden] = backbone.encode([view_of(ids, "bidirectional")])
        ours = made.outputs["logits"](hidden)
        logits = theirs.eval()(input_ids=row, attention_mask=(torch.arange(12) >= 3).long()[None]).logits[:, 3:]
    torch.testing.assert_close(logits, ours, rtol=1e-4, atol=1e-5)


def test_a_family_that_counts_by_ids_and_takes_no_positions_needs_a_padding_of_its_own() -> None:
    built("m2m_100")
    with pytest.raises(
        ValueError, match=r"^expected a padding token of its own for a m2m_100 backbone, .* found id 2 of"
    ):
        built("m2m_100", vocabulary=replace(VOCABULARY, pad=2))
