"""A module that is made already, held against data: whoever made the Trainer, and whatever it does with them."""

import math
from collections.abc import Callable

import lightning.pytorch as L
import pytest
import torch
from torch import Tensor
from utils.exactness_runs import quiet
from utils.small_corpus import write_corpus

from lm_objectives import Backbone, Balancer, CausalLM, Fixed, Pretraining, TextDataModule
from lm_objectives.errors import InputError

SIZE = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
Make = Callable[..., TextDataModule]


@pytest.fixture(scope="module")
def make_data(tmp_path_factory: pytest.TempPathFactory) -> Make:
    folder = tmp_path_factory.mktemp("two corpora")
    write_corpus(folder / "one.jsonl")
    text = (folder / "one.jsonl").read_text(encoding="utf-8")
    (folder / "other.jsonl").write_text(text.replace("o", "u").replace("O", "U"), encoding="utf-8")

    def make(corpus: str = "one", tokenizer: int | str = 300, seq_len: int = 16) -> TextDataModule:
        return TextDataModule(
            str(folder / f"{corpus}.jsonl"),
            tokenizer=tokenizer,
            seq_len=seq_len,
            global_batch_size=8,
            cache=str(folder / "cache"),
        )

    return make


def trainer() -> L.Trainer:
    return L.Trainer(
        max_steps=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=1,
    )


@pytest.fixture(scope="module")
def module(make_data: Make) -> Pretraining:
    module = Pretraining(Backbone("bert", SIZE | {"max_position_embeddings": 32}), {"causal": CausalLM()})
    with quiet():
        trainer().fit(module, make_data())
    return module


@pytest.mark.parametrize("does", ["fit", "validate"])
def test_another_tokenizer_is_refused(does: str, module: Pretraining, make_data: Make) -> None:
    """Of as many tokens, and the same special ones: only what it makes of text differs."""
    own, other = make_data(), make_data("other")
    with quiet(), pytest.raises(InputError) as error:
        getattr(trainer(), does)(module, other)
    assert other.vocabulary == module.vocabulary
    assert str(error.value) == (
        "expected data with the tokenizer that the module was made for, of 300 tokens, found another one, of 300: give "
        "its folder as data.tokenizer, or make a new module"
    )
    with quiet():
        trainer().validate(module, own, verbose=False)
        folder = str(own.text.folder / "tokenizer")
        getattr(trainer(), does)(module, make_data("other", folder))  # other text, in the module's own tokens


@pytest.mark.parametrize("does", ["fit", "validate"])
def test_rows_that_are_too_long_are_refused(does: str, module: Pretraining, make_data: Make) -> None:
    with quiet(), pytest.raises(InputError, match=r"expected data\.seq_len of at most 32, the positions of this bert"):
        getattr(trainer(), does)(module, make_data(seq_len=64))
    with quiet():
        getattr(trainer(), does)(module, make_data(seq_len=32))


@pytest.mark.parametrize(("data", "found"), [(None, "none"), (L.LightningDataModule(), "LightningDataModule")])
def test_other_data_modules_are_refused(data: L.LightningDataModule | None, found: str) -> None:
    module = Pretraining(Backbone("bert", SIZE), {"causal": CausalLM()})
    with quiet(), pytest.raises(InputError, match=f"expected a TextDataModule for the module, found {found}: pass"):
        trainer().fit(module, train_dataloaders=None if data else [1], datamodule=data)


class Negative(Balancer):
    """Weights that would train a model uphill."""

    weight_given = -1.0

    def weights(self, step: int) -> Tensor:
        return torch.full_like(self.initial_losses, self.weight_given)


class Missing(Negative):
    weight_given = math.nan


class Misspelt(Fixed):
    needs = "gradients"  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("balancer", "message"),
    [
        (Negative(), "expected finite weights of at least 0 from Negative.weights, found .-1.0.: bound them"),
        (Missing(), "expected finite weights of at least 0 from Missing.weights, found .nan.: bound them"),
        (Misspelt(), "Misspelt expects needs to be one of losses, last_layer, all_layers, found 'gradients'"),
    ],
)
def test_a_balancer_that_cannot_be_meant_is_one_clear_line(make_data: Make, balancer: Balancer, message: str) -> None:
    """Oracle: the message."""
    module = Pretraining(Backbone("llama", SIZE), {"causal": CausalLM()}, balancer)
    with pytest.raises(InputError, match=f"^{message}"):
        trainer().fit(module, make_data())
