"""Any Hugging Face language model behind one entry, with the attention that a view asks for."""

import inspect
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, final

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from lm_objectives.backbone.attention import attention_arguments, position_ids_of
from lm_objectives.backbone.config import (
    check_chunks,
    check_config,
    check_corruptions,
    draws_unit_embeddings,
    first_position,
    is_decoder,
    max_positions,
    new_config,
    new_model,
    saved_config,
    scaled_config,
    scales_output,
    sliding_windows,
    ties_head,
)
from lm_objectives.backbone.layers import find_layers, split_layer
from lm_objectives.backbone.positions import check_padding, set_first_position
from lm_objectives.backbone.pretrained import PretrainedWeights, check_frames, read_config, read_folder
from lm_objectives.corruptions.base import Corruption
from lm_objectives.errors import InputError
from lm_objectives.plugin import Plugin
from lm_objectives.views import View, Vocabulary

_EPSILONS = ("layer_norm_eps", "norm_eps", "layer_norm_epsilon", "rms_norm_eps")


_FACTORIZED = ("albert", "electra")


_OWN_ACTIVATION = ("albert", "bert")  # their masked head has the model's own activation, the others' a GELU


@final
class Backbone(Plugin, nn.Module):
    """The shared model. It is only described here; `build` makes it once the vocabulary is known.

    Args:
        model_type: a Hugging Face model type, such as `llama`, `qwen3`, `gpt2`, `bert`, `modernbert`, `t5` or `bart`.
        config: arguments of that type's configuration (`hidden_size`, `num_hidden_layers`, …); what is left out keeps
            the type's own default. The vocabulary's size and special tokens come from the tokenizer.
        pretrained: a local folder with a `config.json` and safetensors weights to start from, instead of the two above.
    """

    def __init__(
        self,
        model_type: str | None = None,
        config: dict[str, Any] | None = None,
        pretrained: str | None = None,
    ) -> None:
        super().__init__()
        if model_type is None and pretrained is None:
            raise InputError(
                "expected either a model_type or a pretrained folder for the backbone, found neither: "
                "set model.backbone.model_type, for example to llama"
            )
        if pretrained is not None and (model_type is not None or config):
            raise InputError(
                "expected either a model_type and its config or a pretrained folder for the backbone, found both: set "
                "model.backbone.model_type and model.backbone.config to null"
            )
        self.model_type, self.arguments, self.pretrained = model_type, config or {}, pretrained
        self.pretrained_weights: PretrainedWeights | None = None
        self._own_tied = True
        self._blueprint: dict[str, Any] | None = None

    def setup(self, vocabulary: Vocabulary, seq_len: int, corruptions: Mapping[str, Corruption] | None = None) -> None:
        """Make the model for a vocabulary.

        Args:
            vocabulary: token ids of the tokenizer.
            window: tokens in a row, of what an encoder reads as of what a decoder writes.
            corruptions: of the objectives that will learn, by name. A decoder behind an encoder that none of them has
                write does not learn.

        Raises:
            ValueError: for an unknown model type, impossible sizes, a family whose attention cannot be set, or whose
                layers' windows are not kept by what the corruptions ask for, a window longer than the model's
                positions, or an objective that makes no sense on the family.
        """
        self.config = self._configuration(vocabulary)
        check_config(self.config)
        check_corruptions(self.config, corruptions or {})
        limit = max_positions(self.config)
        if limit is not None and seq_len > limit:
            raise InputError(
                f"expected data.seq_len of at most {limit}, the positions of this {self.config.model_type} backbone, "
                f"found {seq_len}: shorten data.seq_len or raise max_position_embeddings in model.backbone.config"
            )
        check_chunks(self.config, seq_len)
        from lm_objectives.backbone.attention_check import check_attention  # which makes backbones of its own

        check_attention(self.config, {corruption.attention for corruption in (corruptions or {}).values()})
        check_padding(self.config, vocabulary)
        self.vocabulary, self.seq_len = vocabulary, seq_len
        if self.pretrained:
            check_frames(Path(self.pretrained), self.config, vocabulary, corruptions or {})
            self.pretrained_weights = read_folder(Path(self.pretrained), self.config, vocabulary)
            self.config = self.pretrained_weights.model.config
            self._own_tied = self.pretrained_weights.tied
        self._attach(self.pretrained_weights.model if self.pretrained_weights else new_model(self.config))
        self._share([corruption.uses_decoder for corruption in (corruptions or {}).values()])

    def architecture(self) -> dict[str, Any]:
        """What a built model is made from, as plain data: its whole configuration, and whether its own head is tied."""
        return {"config": self.config.to_dict(), "tied": self._own_tied}

    def from_architecture(self, blueprint: dict[str, Any]) -> None:
        """Have `build` make the model of a blueprint, with fresh weights, and read no folder."""
        self._blueprint, self._own_tied, self.pretrained = blueprint, blueprint["tied"], None

    def _configuration(self, vocabulary: Vocabulary) -> Any:
        if self._blueprint:
            return saved_config(self._blueprint["config"])
        if self.pretrained:
            return set_first_position(read_config(Path(self.pretrained)), pretrained=True)
        assert self.model_type is not None
        return set_first_position(new_config(self.model_type, self.arguments, vocabulary), pretrained=False)

    def _attach(self, model: Any) -> None:
        self.is_encoder_decoder = bool(self.config.is_encoder_decoder)
        assert self.config._attn_implementation == "sdpa" or self.is_encoder_decoder  # own masks leak under any other
        if getattr(model, "pooler", None) is not None:
            model.pooler = None  # a pooler that nobody reads has parameters without gradients
        self.model: Any = model
        accepted = inspect.signature(model.forward).parameters
        self._segments = "token_type_ids" in accepted and getattr(self.config, "type_vocab_size", 0) > 1
        self._cache = {"use_cache": False} if hasattr(self.config, "use_cache") else {}
        self._decoder = is_decoder(self.config.model_type) and not self.is_encoder_decoder
        self._windows = sliding_windows(self.config)
        self._all_write = False
        self._search_anew()

    def _search_anew(self) -> None:
        """Forget the names that were searched for in a model which is another now."""
        for name in ("_block_names", "embedding_name"):
            self.__dict__.pop(name, None)

    def _share(self, decodes: Sequence[bool]) -> None:
        """Fix who reaches the decoder behind an encoder: all objectives, some, or none, and then it does not learn."""
        self._all_write = self.is_encoder_decoder and bool(decodes) and all(decodes)
        self._search_anew()
        if self.is_encoder_decoder and not any(decodes):
            for parameter in self._decoders_own():
                parameter.requires_grad_(False)

    def _decoders_own(self) -> list[nn.Parameter]:
        """Parameters of the decoder behind an encoder that the encoder does not read."""
        read = {id(parameter) for parameter in self.model.get_encoder().parameters()}
        return [parameter for parameter in self.model.get_decoder().parameters() if id(parameter) not in read]

    def unused_parameters(self, views: Iterable[View]) -> list[nn.Parameter]:
        """Parameters that learn, but not from these views: those of a decoder that none of them has write."""
        if not self.is_encoder_decoder or any(view.decoder_labels is not None for view in views):
            return []
        return [parameter for parameter in self._decoders_own() if parameter.requires_grad]

    @property
    def has_frozen_decoder(self) -> bool:
        """Whether there is a decoder behind the encoder that does not learn, since no objective has it write."""
        return self.is_encoder_decoder and not any(parameter.requires_grad for parameter in self._decoders_own())

    @property
    def has_sliding_windows(self) -> bool:
        """Whether some layers see a neighbourhood of each place only, which views keep whatever their attention."""
        return any(window is not None for window in self._windows.values())

    @property
    def supports_packing(self) -> bool:
        """Whether documents that share a row can be kept apart, known before the model is made."""
        from lm_objectives.backbone.attention_check import can_pack

        config = self._configuration(Vocabulary(size=16, pad=0, bos=1, eos=2, mask=3))
        check_config(config)
        return can_pack(config)

    def scaled_width(self, fraction: float) -> "Backbone":
        """A model of the same family and depth whose width is `fraction` of this one's: ELECTRA's generator.

        It has no token embedding of its own and reads vectors; of a `factorized` backbone it has no embedding layer and
        reads by this one's `embeddings`.
        """
        config = scaled_config(self.config, fraction)
        if self.factorized:
            config.embedding_size = self.config.embedding_size
        small = Backbone(model_type=self.config.model_type)
        small.config = config
        small._attach(new_model(config))
        if self.factorized:
            for name in self.embedding_parameters():
                module, _, parameter = name.rpartition(".")
                setattr(small.model.get_submodule(module), parameter, None)
        else:
            small.model.set_input_embeddings(nn.Identity())
        if small.is_encoder_decoder:
            small.model.decoder = None  # which nobody would have write
        return small

    @property
    def factorized(self) -> bool:
        """Whether the embedding layer has a width of its own, from which the blocks' is projected."""
        return self.config.model_type in _FACTORIZED

    def embedding_parameters(self, parameters: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """The parameters of the embedding layer by their names in the model: of tokens alone, or of all in that layer.

        All, that is those of positions, segments and norm besides, where the model is `factorized`.

        Args:
            parameters: stand-ins for some of the model's parameters, by name.
        """
        chosen = {self.embedding_name: self.embedding}
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
        """Standard deviation that the family draws its weights with."""
        return getattr(self.config, "initializer_range", getattr(self.config, "init_std", 0.02))

    @property
    def tied(self) -> bool:
        """Whether the family's own head over the vocabulary is the token embedding, which is as wide as `dim`.

        What a folder holds counts before what its configuration says: mT5's heads are their own, and it says tied.
        """
        return self._own_tied and ties_head(self.config) and self.embedding.shape[1] == self.dim

    @property
    def embedding_scale(self) -> float:
        """What makes hidden states of size 1 small enough for the token embedding as a head."""
        return self.dim**-0.5 if draws_unit_embeddings(self.config) else 1.0

    @property
    def head_scale(self) -> float:
        """What the family multiplies hidden states by in front of its own head over the vocabulary."""
        return self.dim**-0.5 if scales_output(self.config) else 1.0

    def head_transform(self, dim: int) -> nn.Sequential:
        """What stands before a masked head's tied embedding: dense, activation and norm, as the family has them."""
        from transformers.activations import ACT2FN

        config = self.config
        plain = config.model_type == "modernbert"  # the one family here without these biases, and with an own width
        dense = nn.Linear(self.dim, dim, bias=config.classifier_bias if plain else True)
        if plain:  # as its own head does it, at the width of a residual projection
            std = self.initializer_range / math.sqrt(2 * config.num_hidden_layers)
            cut = (config.initializer_cutoff_factor or 3) * std
            nn.init.trunc_normal_(dense.weight, std=std, a=-cut, b=cut)
        else:
            nn.init.normal_(dense.weight, std=self.initializer_range)
        if dense.bias is not None:
            nn.init.zeros_(dense.bias)
        epsilon = next((value for name in _EPSILONS if (value := getattr(config, name, None))), 1e-12)
        own = config.hidden_act if config.model_type in _OWN_ACTIVATION else "gelu"
        activation = config.classifier_activation if plain else own
        norm = nn.LayerNorm(dim, eps=epsilon, bias=config.norm_bias if plain else True)
        if draws_unit_embeddings(config):
            nn.init.constant_(norm.weight, dim**-0.5)  # else a fresh model would be certain, and wrong
        return nn.Sequential(dense, ACT2FN[activation], norm)

    def discriminator_activation(self) -> nn.Module:
        """What stands between the two layers of a head for replaced tokens: ELECTRA's own, elsewhere a GELU."""
        from transformers.activations import ACT2FN

        return ACT2FN[self.config.hidden_act if self.config.model_type == "electra" else "gelu"]

    @property
    def layers(self) -> list[nn.Module]:
        """The transformer's layers that every objective reaches, the first first.

        ALBERT's are groups, each of layers that run several times.
        """
        return [self.model.get_submodule(name) for name in self._block_names]

    @cached_property
    def _block_names(self) -> tuple[str, ...]:
        """The blocks' names in the model, searched for once: each pass asks. Copying or moving it changes none."""
        if self.is_encoder_decoder:
            found = find_layers(self.model.get_encoder(), self.config.num_hidden_layers)
            found += find_layers(self.model.get_decoder(), None) if self._all_write else []
        else:
            groups = self.config.model_type == "albert"
            found = find_layers(self.model, None if groups else self.config.num_hidden_layers)
        names = {module: name for name, module in self.model.named_modules()}
        return tuple(names[block] for block in found)

    @cached_property
    def embedding_name(self) -> str:
        """The token embedding's name among the model's parameters."""
        return next(name for name, parameter in self.model.named_parameters() if parameter is self.embedding)

    def layer_parameters(self, number: int) -> list[str]:
        """Names of the parameters of one block, counted from the end where `number` is negative.

        Raises:
            ValueError: where there is no such block.
        """
        depth = len(self._block_names)
        if not -depth <= number < depth:
            raise InputError(
                f"expected a layer between {-depth} and {depth - 1} for the balancer, found {number}: -1 is the last"
            )
        block = self.layer_name(number)
        parameters = self.model.get_submodule(block).named_parameters(block)
        return [name for name, parameter in parameters if parameter.requires_grad]

    def layer_name(self, number: int) -> str:
        """A block's name in the model."""
        return self._block_names[number]

    def shared_parameters(self) -> list[str]:
        """Names of all parameters that learn, those of the blocks first."""
        names = [name for name, parameter in self.model.named_parameters() if parameter.requires_grad]
        blocks = self.within_layers(names)
        inner = set(blocks)
        return [*blocks, *(name for name in names if name not in inner)]

    def within_layers(self, names: Iterable[str]) -> list[str]:
        """Those of some parameters that lie in the blocks."""
        inner = tuple(f"{block}." for block in self._block_names)
        return [name for name in names if name.startswith(inner)]

    def encode(
        self,
        views: Sequence[View],
        parameters: dict[str, Tensor] | None = None,
        embedded: Float[Tensor, "rows time dim"] | None = None,
    ) -> list[Float[Tensor, "rows time dim"]]:
        """Hidden states of each view, all views in one pass: the decoder's of a view that has it write.

        Args:
            views: views of one window length; all or none of which have a decoder write, and then rows of one length.
            parameters: stand-ins for some of the model's parameters, by name.
            embedded: input vectors to read instead of the views' tokens.
        """
        rows = [len(view.input_ids) for view in views]
        module: nn.Module = self.model
        inputs: dict[str, Any] = dict(self._cache)
        written = [view.decoder_labels for view in views if view.decoder_labels is not None]
        if written:
            inputs["decoder_input_ids"] = self.shift_right(torch.cat(written))
        elif self.is_encoder_decoder:
            module, inputs = self.model.get_encoder(), {}
            parameters = parameters and self._named_in(module, parameters)
        if embedded is None:
            inputs["input_ids"] = (
                torch.cat([view.input_ids for view in views]) if len(views) > 1 else views[0].input_ids
            )
        else:
            inputs["inputs_embeds"] = embedded
        if self._segments and any(view.token_type_ids is not None for view in views):
            inputs["token_type_ids"] = torch.cat(
                [
                    torch.zeros_like(view.input_ids) if view.token_type_ids is None else view.token_type_ids
                    for view in views
                ]
            )
        inputs |= attention_arguments(views, self._decoder, self._windows)
        first = first_position(self.config)
        if first or any(view.position_ids is not None for view in views):
            inputs["position_ids"] = torch.cat([position_ids_of(view) for view in views]) + first
        output = torch.func.functional_call(module, parameters, (), inputs) if parameters else module(**inputs)
        return list(output.last_hidden_state.split(rows))

    def shift_right(self, written: Int[Tensor, "rows time"]) -> Int[Tensor, "rows time"]:
        """What a decoder reads to write tokens: its start, then what it wrote so far."""
        return F.pad(written[:, :-1], (1, 0), value=self.config.decoder_start_token_id)

    def _named_in(self, part: nn.Module, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Stand-ins for the model's parameters by their names in a part of it, those of other parts left out."""
        own = dict(self.model.named_parameters())
        given = {id(own[name]): value for name, value in parameters.items()}
        return {name: given[id(value)] for name, value in part.named_parameters() if id(value) in given}

    def encode_split_layer(
        self, views: Sequence[View], number: int, parameters: Sequence[Mapping[str, Tensor]]
    ) -> list[Float[Tensor, "rows time dim"]]:
        """`encode` in one pass, but for one block, which runs once for each view.

        Args:
            views: as in `encode`.
            number: of the block, counted from the end where it is negative.
            parameters: for each view, stand-ins for the block's parameters, by their names in the model.
        """
        name = self.layer_name(number)
        block, prefix = self.model.get_submodule(name), f"{name}."
        own = [{name.removeprefix(prefix): value for name, value in given.items()} for given in parameters]
        rows = [len(view.input_ids) for view in views]
        with split_layer(block, rows, own):
            return self.encode(views)
