"""A Hugging Face language model that gives each view the attention that it asks for."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lm_objectives.backbone.attention_check import can_pack, check_attention
from lm_objectives.backbone.config import (
    check_config,
    check_corruptions,
    check_seq_len,
    draws_unit_embeddings,
    initializer_range,
    new_config,
    new_model,
    saved_config,
    scaled_config,
)
from lm_objectives.backbone.encode import encode
from lm_objectives.backbone.heads import head_transform, new_activation
from lm_objectives.backbone.layers import find_layers, split_layer
from lm_objectives.backbone.position_wise import position_wise_end, run_at
from lm_objectives.backbone.positions import check_padding, set_first_position
from lm_objectives.backbone.pretrained import PretrainedWeights, check_frames, read_config, read_folder
from lm_objectives.corruptions.base import Corruption
from lm_objectives.errors import expect
from lm_objectives.plugin import Plugin
from lm_objectives.views import View, Vocabulary, gather_positions

_FACTORIZED = ("albert", "electra")

_SCALED_WHERE_TIED = ("umt5", "switch_transformers")  # T5's own configuration says whether it is


@final
class Backbone(Plugin, nn.Module):
    """The shared model: any Hugging Face language model with sdpa attention. `setup` makes it for a vocabulary.

    >>> from lm_objectives import Backbone, Vocabulary
    >>> backbone = Backbone("llama", {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4})
    >>> backbone.setup(Vocabulary(size=100, pad=0, bos=1, eos=2, mask=3), seq_len=16)
    >>> backbone.embedding.shape, len(backbone.layers)
    (torch.Size([100, 64]), 2)

    Args:
        model_type: a Hugging Face model type, such as `llama`, `qwen3`, `gpt2`, `bert`, `modernbert`, `t5` or `bart`.
        config: arguments of that type's configuration (`hidden_size`, `num_hidden_layers`, …); what is left out keeps
            the type's own default. The vocabulary's size and special tokens come from the tokenizer.
        pretrained: a local folder with a `config.json` and safetensors weights to start from, instead of the two above.
    """

    def __init__(
        self, model_type: str | None = None, config: dict[str, Any] | None = None, pretrained: str | None = None
    ) -> None:
        super().__init__()
        expected = "either a model_type or a pretrained folder for the backbone"
        mend = "set model.backbone.model_type, for example to llama"
        expect(model_type is not None or pretrained is not None, expected, "neither", mend)
        expected = "either a model_type and its config or a pretrained folder for the backbone"
        mend = "set model.backbone.model_type and model.backbone.config to null"
        expect(pretrained is None or (model_type is None and not config), expected, "both", mend)
        self.model_type, self.arguments, self.pretrained = model_type, config or {}, pretrained
        self.pretrained_weights: PretrainedWeights | None = None
        self.heads_found: dict[str, bool] = {}  # whether the folder had the weights of each objective's head
        self._own_tied = True
        self._last_end: list[nn.Module] | None = None  # modules of the last layer behind its attention
        self._architecture: dict[str, Any] | None = None

    def setup(self, vocabulary: Vocabulary, seq_len: int, corruptions: Mapping[str, Corruption] | None = None) -> None:
        """Make the model for a vocabulary.

        Args:
            vocabulary: token ids of the tokenizer.
            seq_len: tokens in a row, at most, for an encoder as for a decoder.
            corruptions: of the objectives that will learn, by name. The decoder of an encoder-decoder is frozen where
                none of them uses it.

        Raises:
            InputError: for an unknown model type, impossible sizes, a family whose attention cannot be set, or whose
                sliding windows cannot be kept in the views to come, a `seq_len` longer than the model's positions, or
                an objective that makes no sense on the family.
        """
        corruptions = corruptions or {}
        config = self._new_config(vocabulary)
        check_config(config)
        check_corruptions(config, corruptions)
        check_seq_len(config, seq_len)
        check_attention(config, {corruption.attention for corruption in corruptions.values()})
        check_padding(config, vocabulary)
        self.vocabulary, self.seq_len = vocabulary, seq_len
        if self.pretrained:
            check_frames(Path(self.pretrained), config, vocabulary, corruptions)
            self.pretrained_weights = read_folder(Path(self.pretrained), config, vocabulary)
            self._own_tied = self.pretrained_weights.tied
        model = self.pretrained_weights.model if self.pretrained_weights else new_model(config)
        self._set_model(model, [corruption.uses_decoder for corruption in corruptions.values()])

    def architecture(self) -> dict[str, Any]:
        """The model's whole configuration, and whether its own head is tied, as plain data for `load_architecture`."""
        return {"config": self.config.to_dict(), "tied": self._own_tied}

    def load_architecture(self, architecture: dict[str, Any]) -> None:
        """Let `setup` make the model of an `architecture`, with fresh weights, and read no folder."""
        self._architecture, self._own_tied, self.pretrained = architecture, architecture["tied"], None

    def _new_config(self, vocabulary: Vocabulary) -> Any:
        if self._architecture:
            return saved_config(self._architecture["config"])
        if self.pretrained:
            return set_first_position(read_config(Path(self.pretrained)), pretrained=True)
        assert self.model_type is not None
        return set_first_position(new_config(self.model_type, self.arguments, vocabulary), pretrained=False)

    def _set_model(self, model: Any, uses_decoder: Sequence[bool] = ()) -> None:
        """Take a model, and find the layers that all objectives share.

        Args:
            model: without a head.
            uses_decoder: whether each of the objectives uses the decoder of an encoder-decoder, which is frozen where
                none does.
        """
        self._last_end = None
        self.model, self.config, self.is_encoder_decoder = model, model.config, bool(model.config.is_encoder_decoder)
        assert self.config._attn_implementation == "sdpa" or self.is_encoder_decoder  # own masks leak under any other
        if getattr(model, "pooler", None) is not None:
            model.pooler = None  # a pooler that nobody reads has parameters without gradients
        self.embedding_name = next(name for name, weight in model.named_parameters() if weight is self.embedding)
        self._layer_names = find_layers(model, with_decoder=bool(uses_decoder) and all(uses_decoder))
        if self.is_encoder_decoder and not any(uses_decoder):
            for parameter in self._decoder_parameters():
                parameter.requires_grad_(False)

    def _decoder_parameters(self) -> list[nn.Parameter]:
        """Parameters of an encoder-decoder that its encoder does not use."""
        read = {id(parameter) for parameter in self.model.get_encoder().parameters()}
        return [parameter for parameter in self.model.get_decoder().parameters() if id(parameter) not in read]

    def unused_parameters(self, views: Iterable[View]) -> list[nn.Parameter]:
        """Parameters that learn, but get no gradient from these views: the decoder's where none has labels for it."""
        if not self.is_encoder_decoder or any(view.decoder_labels is not None for view in views):
            return []
        return [parameter for parameter in self._decoder_parameters() if parameter.requires_grad]

    @property
    def has_frozen_decoder(self) -> bool:
        """Whether the decoder of an encoder-decoder does not learn, since no objective uses it."""
        return self.is_encoder_decoder and not any(parameter.requires_grad for parameter in self._decoder_parameters())

    @property
    def supports_packing(self) -> bool:
        """Whether documents that share a row can be kept apart, known before the model is made."""
        return can_pack(self.early_config())

    def early_config(self) -> Any:
        """The configuration with a vocabulary of few tokens, known before that of the data is."""
        config = self._new_config(Vocabulary(size=16, pad=0, bos=1, eos=2, mask=3))
        check_config(config)
        return config

    def scaled_width(self, fraction: float) -> "Backbone":
        """A model of the same family and depth whose width is `fraction` of this one's: ELECTRA's generator.

        It has no token embedding of its own and reads vectors; that of a `factorized` backbone has no embedding layer
        and reads by this one's `embedding_parameters`.
        """
        config = scaled_config(self.config, fraction)
        if self.factorized:
            config.embedding_size = self.config.embedding_size
        small = Backbone(model_type=self.config.model_type)
        small._set_model(new_model(config))
        if self.factorized:
            for name in self.embedding_parameters():
                module, _, parameter = name.rpartition(".")
                setattr(small.model.get_submodule(module), parameter, None)
        else:
            small.model.set_input_embeddings(nn.Identity())
        if small.is_encoder_decoder:
            small.model.decoder = None
        return small

    @property
    def factorized(self) -> bool:
        """Whether the embedding layer has a width of its own, from which the layers' is projected."""
        return self.config.model_type in _FACTORIZED

    def embedding_parameters(self, parameters: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """The token embedding by its name in the model; where the model is `factorized`, all of the embedding layer.

        Args:
            parameters: tensors to use instead of some of the model's parameters, by name.
        """
        chosen: dict[str, Tensor] = {self.embedding_name: self.embedding}
        if self.factorized:
            layer = self.embedding_name.rsplit(".", 2)[0]
            chosen = dict(self.model.get_submodule(layer).named_parameters(layer))
        return {name: (parameters or {}).get(name, value) for name, value in chosen.items()}

    @property
    def embedding(self) -> nn.Parameter:
        """The token embedding, `(vocab, dim)`."""
        return self.model.get_input_embeddings().weight

    @property
    def dim(self) -> int:
        """Width of the hidden states."""
        return self.config.hidden_size

    @property
    def initializer_range(self) -> float:
        """Standard deviation of the family's fresh weights."""
        return initializer_range(self.config)

    @property
    def tied(self) -> bool:
        """Whether the family's own head over the vocabulary is the token embedding, which is as wide as `dim`.

        Weights in a folder count before its configuration, which says tied for mT5's own heads. In transformers, T5's
        `tie_word_embeddings` is always true; its `scale_decoder_outputs` says whether the head is tied.
        """
        tied = getattr(self.config, "scale_decoder_outputs", self.config.tie_word_embeddings)
        return self._own_tied and tied and self.embedding.shape[1] == self.dim

    @property
    def embedding_scale(self) -> float:
        """Factor for hidden states of size 1 where the token embedding is the head."""
        return self.dim**-0.5 if draws_unit_embeddings(self.config) else 1.0

    @property
    def head_scale(self) -> float:
        """Factor for hidden states in the family's own head over the vocabulary."""
        tied = self.config.tie_word_embeddings and self.config.model_type in _SCALED_WHERE_TIED
        return self.dim**-0.5 if getattr(self.config, "scale_decoder_outputs", tied) else 1.0

    def head_transform(self, dim: int) -> nn.Sequential:
        """Dense layer, activation and norm before a masked head's tied embedding of width `dim`, as the family's."""
        return head_transform(self.config, self.dim, dim)

    def discriminator_activation(self) -> nn.Module:
        """Activation between the two layers of a head for replaced tokens: ELECTRA's own, else a GELU."""
        return new_activation(self.config.hidden_act if self.config.model_type == "electra" else "gelu")

    @property
    def layers(self) -> list[nn.Module]:
        """The transformer's layers that every objective uses, in order; of ALBERT the groups of layers."""
        return [self.model.get_submodule(name) for name in self._layer_names]

    def layer_name(self, number: int) -> str:
        """A layer's name in the model; the number counts from the end where it is negative.

        Raises:
            InputError: where there is no such layer.
        """
        depth = len(self._layer_names)
        mend = "-1 is the last"
        expect(-depth <= number < depth, f"a layer between {-depth} and {depth - 1} for the balancer", number, mend)
        return self._layer_names[number]

    def layer_parameters(self, number: int) -> list[str]:
        """Names of the parameters of one layer, counted from the end where `number` is negative.

        Raises:
            InputError: where there is no such layer.
        """
        name = self.layer_name(number)
        parameters = self.model.get_submodule(name).named_parameters(name)
        return [name for name, parameter in parameters if parameter.requires_grad]

    def shared_parameters(self) -> list[str]:
        """Names of all parameters that learn, those of the layers first."""
        names = [name for name, parameter in self.model.named_parameters() if parameter.requires_grad]
        inner = dict.fromkeys(self.within_layers(names))
        return list(inner | dict.fromkeys(names))

    def within_layers(self, names: Iterable[str]) -> list[str]:
        """Those of some parameters' names that lie in the layers."""
        layers = tuple(f"{layer}." for layer in self._layer_names)
        return [name for name in names if name.startswith(layers)]

    def encode(
        self,
        views: Sequence[View],
        parameters: Mapping[str, Tensor] | None = None,
        embedded: Float[Tensor, "rows time dim"] | None = None,
    ) -> list[Float[Tensor, "rows time dim"]]:
        """Hidden states of each view, all views in one pass (see `encode.encode`)."""
        return encode(self.model, views, parameters, embedded)

    @torch.no_grad()
    def encode_labelled(self, view: View) -> Float[Tensor, "labels dim"]:
        """Hidden states at a view's label positions, without gradients.

        Where these are few, the end of the last layer runs at them alone (see `position_wise.position_wise_end`).
        """
        modules: list[nn.Module] = []
        if 2 * len(view.label_positions) < view.input_ids.numel() and not self.training and not self.is_encoder_decoder:
            if self._last_end is None:
                self._last_end = position_wise_end(self.model, self.layers[-1], self.seq_len)
            modules = self._last_end
        with run_at(modules, view.label_positions):
            [hidden] = self.encode([view])
        return gather_positions(hidden, view.label_positions)

    def encode_split_layer(
        self, views: Sequence[View], number: int, parameters: Sequence[Mapping[str, Tensor]]
    ) -> list[Float[Tensor, "rows time dim"]]:
        """`encode` in one pass, except for one layer, which runs once for each view.

        Args:
            views: as in `encode`.
            number: of the layer, counted from the end where it is negative.
            parameters: for each view, tensors to use instead of the layer's parameters, by their names in the model.
        """
        rows = [len(view.input_ids) for view in views]
        with split_layer(self.model, self.layer_name(number), rows, parameters):
            return self.encode(views)
