"""Any Hugging Face decoder-only or encoder-only model behind one entry, with the attention that a view asks for."""

import inspect
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from lm_objectives.configuration import (
    check_config,
    first_position,
    from_config,
    has_windows,
    is_decoder,
    narrowed,
    one_line,
    positions_of,
)
from lm_objectives.corruption.base import View, Vocabulary
from lm_objectives.plugin import Plugin

_EPSILONS = ("layer_norm_eps", "norm_eps", "layer_norm_epsilon", "rms_norm_eps")
_ACTIVATIONS = {"bert": None}  # BERT's head has the model's own activation, the others' a GELU


@final
class Backbone(Plugin, nn.Module):
    """The shared model. It is only described here; `build` makes it once the vocabulary is known.

    Args:
        model_type: a Hugging Face model type, such as `llama`, `qwen3`, `gpt2`, `bert`, `roberta` or `modernbert`.
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
        if (model_type is None) == (pretrained is None):
            raise ValueError(
                "expected either a model_type or a pretrained folder for the backbone, found "
                f"{'neither' if model_type is None else 'both'}: set model.backbone.model_type, for example to llama"
            )
        if pretrained is not None and not (Path(pretrained) / "config.json").is_file():
            raise ValueError(f"expected a folder with a config.json at {pretrained}, found none: check the path")
        self.model_type, self.arguments, self.pretrained = model_type, config or {}, pretrained

    def build(self, vocabulary: Vocabulary, window: int) -> None:
        """Make the model for a vocabulary.

        Raises:
            ValueError: for an unknown model type, impossible sizes, a family whose attention cannot be set, or a window
                longer than the model's positions.
        """
        self.config = self._configuration(vocabulary)
        check_config(self.config)
        limit = positions_of(self.config)
        if limit is not None and window > limit:
            raise ValueError(
                f"expected data.window of at most {limit}, the positions of this {self.config.model_type} backbone, "
                f"found {window}: shorten data.window or raise max_position_embeddings in model.backbone.config"
            )
        from lm_objectives.attention_probe import check_attention  # which makes backbones of its own

        check_attention(self.config)
        self._attach(self._load(vocabulary) if self.pretrained else from_config(self.config))

    def _configuration(self, vocabulary: Vocabulary) -> Any:
        from transformers import AutoConfig

        tokens = {"pad_token_id": vocabulary.pad, "bos_token_id": vocabulary.bos, "eos_token_id": vocabulary.eos}
        if self.pretrained:
            with one_line(f"a configuration of transformers in {self.pretrained}", "check model.backbone.pretrained"):
                return AutoConfig.from_pretrained(self.pretrained, trust_remote_code=False)
        assert self.model_type is not None
        from transformers import CONFIG_MAPPING

        if self.model_type not in CONFIG_MAPPING:
            from difflib import get_close_matches

            near = get_close_matches(self.model_type, CONFIG_MAPPING.keys(), 3, 0.5)
            raise ValueError(
                f"expected a model_type that transformers knows, found {self.model_type!r}: "
                + (f"did you mean {' or '.join(near)}?" if near else "llama, gpt2, bert and roberta are some")
            )
        known = set(inspect.signature(CONFIG_MAPPING[self.model_type].__init__).parameters) | set(
            getattr(CONFIG_MAPPING[self.model_type], "attribute_map", {})
        )
        for name in self.arguments:
            if name not in known and not hasattr(CONFIG_MAPPING[self.model_type](), name):
                from difflib import get_close_matches

                near = get_close_matches(name, known, 1)
                raise ValueError(
                    f"expected arguments of a {self.model_type} configuration in model.backbone.config, found {name!r}"
                    + (f": did you mean {near[0]}?" if near else "")
                )
        roles = {"cls_token_id": vocabulary.bos, "sep_token_id": vocabulary.eos}  # where a family knows them
        tokens |= {name: token for name, token in roles.items() if name in known}
        with one_line(f"a {self.model_type} configuration that builds", "change model.backbone.config"):
            config = AutoConfig.for_model(self.model_type, **tokens | self.arguments | {"vocab_size": vocabulary.size})
        return config

    def _load(self, vocabulary: Vocabulary) -> nn.Module:
        from transformers import AutoModel

        assert self.pretrained is not None
        with one_line(f"safetensors weights in {self.pretrained}", "check model.backbone.pretrained"):
            model: Any = AutoModel.from_pretrained(
                self.pretrained,
                attn_implementation="sdpa",
                use_safetensors=True,
                trust_remote_code=False,
                dtype=torch.get_default_dtype(),
            )
        if vocabulary.size != model.get_input_embeddings().num_embeddings:
            model.resize_token_embeddings(vocabulary.size, mean_resizing=False)
        self.config = model.config
        return model

    def _attach(self, model: Any) -> None:
        assert self.config._attn_implementation == "sdpa"  # own masks leak under any other
        if getattr(model, "pooler", None) is not None:
            model.pooler = None  # a pooler that nobody reads has parameters without gradients
        self.model: Any = model
        accepted = inspect.signature(model.forward).parameters
        self._segments = "token_type_ids" in accepted and getattr(self.config, "type_vocab_size", 0) > 1
        self._cache = {"use_cache": False} if hasattr(self.config, "use_cache") else {}
        self._decoder = is_decoder(self.config.model_type)
        self.windowed = has_windows(self.config)

    @property
    def packs(self) -> bool:
        """Whether documents that share a row can be kept apart, known before the model is made."""
        from lm_objectives.attention_probe import keeps_parts_apart

        config = self._configuration(Vocabulary(size=16, pad=0, bos=1, eos=2, mask=3))
        check_config(config)
        return keeps_parts_apart(config)

    def shrunk(self, fraction: float) -> "Backbone":
        """A model of the same family and depth whose width is `fraction` of this one's, reading embeddings.

        ELECTRA's generator: it has no token embedding of its own.
        """
        config = narrowed(self.config, fraction)
        small = Backbone(model_type=self.config.model_type)
        small.config = config
        small._attach(from_config(config))
        small.model.set_input_embeddings(nn.Identity())
        return small

    @property
    def embedding(self) -> nn.Parameter:
        """The token embedding, `(vocab, dim)`."""
        return self.model.get_input_embeddings().weight

    @property
    def dim(self) -> int:
        """Width of the hidden states."""
        return self.config.hidden_size

    @property
    def input_dim(self) -> int:
        """Width of the vectors that `encode` takes as `embedded`."""
        return getattr(self.config, "embedding_size", self.config.hidden_size)

    @property
    def initializer_range(self) -> float:
        """Standard deviation that the family draws its weights with."""
        return getattr(self.config, "initializer_range", 0.02)

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
        activation = config.classifier_activation if plain else _ACTIVATIONS.get(config.model_type, "gelu")
        norm = nn.LayerNorm(dim, eps=epsilon, bias=config.norm_bias if plain else True)
        return nn.Sequential(dense, ACT2FN[activation or config.hidden_act], norm)

    @property
    def blocks(self) -> nn.ModuleList:
        """The transformer's layers, the first first."""
        lists = [module for module in self.model.modules() if isinstance(module, nn.ModuleList)]
        whole = [module for module in lists if len(module) == self.config.num_hidden_layers]
        return whole[0] if whole else max(lists, key=len)  # a mixture may have more experts than layers

    @property
    def embedding_name(self) -> str:
        """The token embedding's name among the model's parameters."""
        return next(name for name, parameter in self.model.named_parameters() if parameter is self.embedding)

    def layer(self, number: int) -> list[str]:
        """Names of the parameters of one block, counted from the end where `number` is negative.

        Raises:
            ValueError: where there is no such block.
        """
        if not -len(self.blocks) <= number < len(self.blocks):
            raise ValueError(
                f"expected a layer between {-len(self.blocks)} and {len(self.blocks) - 1} for the balancer, found "
                f"{number}: -1 is the last"
            )
        chosen = {id(parameter) for parameter in self.blocks[number].parameters() if parameter.requires_grad}
        return [name for name, parameter in self.model.named_parameters() if id(parameter) in chosen]

    def block_name(self, number: int) -> str:
        """A block's name in the model."""
        return next(name for name, module in self.model.named_modules() if module is self.blocks[number])

    def shared(self) -> list[str]:
        """Names of all parameters that learn, those of the blocks first."""
        names = [name for name, parameter in self.model.named_parameters() if parameter.requires_grad]
        blocks = self.within_blocks(names)
        return [*blocks, *(name for name in names if name not in set(blocks))]

    def within_blocks(self, names: Iterable[str]) -> list[str]:
        """Those of some parameters that lie in the blocks."""
        inner = {id(parameter) for parameter in self.blocks.parameters()}
        parameters = dict(self.model.named_parameters())
        return [name for name in names if id(parameters[name]) in inner]

    def encode(
        self,
        views: Sequence[View],
        parameters: dict[str, Tensor] | None = None,
        embedded: Float[Tensor, "rows time dim"] | None = None,
    ) -> list[Float[Tensor, "rows time dim"]]:
        """Hidden states of each view, all views in one pass.

        Args:
            views: views of one window length; of one attention pattern where the model has `windowed` layers.
            parameters: stand-ins for some of the model's parameters, by name.
            embedded: input vectors to read instead of the views' tokens.
        """
        rows = [len(view.ids) for view in views]
        time = views[0].ids.shape[1]
        inputs: dict[str, Any] = dict(self._cache)
        if embedded is None:
            inputs["input_ids"] = torch.cat([view.ids for view in views]) if len(views) > 1 else views[0].ids
        else:
            inputs["inputs_embeds"] = embedded
        if self._segments and any(view.segments is not None for view in views):
            inputs["token_type_ids"] = torch.cat(
                [torch.zeros_like(view.ids) if view.segments is None else view.segments for view in views]
            )
        inputs |= self._attention(views, time)
        if any(view.positions is not None for view in views):
            positions = torch.cat([_positions(view) for view in views])
            inputs["position_ids"] = positions + first_position(self.config)
        output = torch.func.functional_call(self.model, parameters, (), inputs) if parameters else self.model(**inputs)
        return list(output.last_hidden_state.split(rows))

    def encode_block_apart(
        self, views: Sequence[View], number: int, parameters: Sequence[Mapping[str, Tensor]]
    ) -> list[Float[Tensor, "rows time dim"]]:
        """`encode` in one pass, but for one block, which runs once for each view.

        Args:
            views: as in `encode`.
            number: of the block, counted from the end where it is negative.
            parameters: for each view, stand-ins for the block's parameters, by their names in the model.
        """
        block, prefix = self.blocks[number], f"{self.block_name(number)}."
        own = [{name.removeprefix(prefix): value for name, value in given.items()} for given in parameters]
        rows = [len(view.ids) for view in views]
        with _split(block, rows, own):
            return self.encode(views)

    def _attention(self, views: Sequence[View], time: int) -> dict[str, Any]:
        """The arguments that give each view its attention: no mask where none is needed, else a boolean one."""
        patterns = {view.attention for view in views}
        padded = any(view.padded for view in views)
        whole = all(view.positions is None for view in views)
        if whole and patterns == {"causal"} and self._decoder:
            return {}  # padding is on the right, where no scored position looks
        if whole and patterns == {"bidirectional"} and not self._decoder:
            return {"attention_mask": torch.cat([_real(view, time) for view in views]).long()} if padded else {}
        if whole and patterns == {"bidirectional"} and not padded and not self.windowed:
            return {"is_causal": False}
        masks = []
        for view in views:
            mask = _real(view, time)[:, None, :].expand(-1, time, -1)
            if view.attention != "bidirectional":
                seen = torch.ones(time, time, dtype=torch.bool, device=mask.device).tril()
                if view.prefix is not None:
                    seen = seen | (torch.arange(time, device=mask.device) < view.prefix[:, None])[:, None, :]
                mask = mask & seen
            if view.positions is not None:
                part = (view.positions == 0).cumsum(1)
                mask = mask & (part[:, :, None] == part[:, None, :])
            masks.append(mask)
        return {"attention_mask": torch.cat(masks)[:, None]}


@contextmanager
def _split(block: nn.Module, rows: Sequence[int], parameters: Sequence[dict[str, Tensor]]) -> Iterator[None]:
    """Let a block run once for each group of rows, on stand-ins for its parameters of that group's own."""
    total = sum(rows)

    def forward(*args: Any, **kwargs: Any) -> Any:
        outputs, start = [], 0
        del block.forward  # the class's own again
        for size, own in zip(rows, parameters, strict=True):
            # Hidden states and masks have the rows first, and three or four axes; a table of two, such as one of
            # rotations, may have as many positions as there are rows.
            part = tree_map(
                lambda x, at=start, to=start + size: (
                    x[at:to] if isinstance(x, Tensor) and x.ndim > 2 and len(x) == total else x
                ),
                (args, kwargs),
            )
            outputs.append(torch.func.functional_call(block, own, *part))
            start += size
        block.forward = forward
        return tree_map(lambda *parts: torch.cat(parts) if isinstance(parts[0], Tensor) else parts[0], *outputs)

    block.forward = forward
    try:
        yield
    finally:
        block.__dict__.pop("forward", None)


def _positions(view: View) -> Tensor:
    """Place of each token within its document's part of the row, `(rows, time)`."""
    if view.positions is not None:
        return view.positions
    return torch.arange(view.ids.shape[1], device=view.ids.device).expand_as(view.ids)


def _real(view: View, time: int) -> Tensor:
    """True where a row has a token and False where it is padded, `(rows, time)`."""
    return torch.arange(time, device=view.lengths.device) < view.lengths[:, None]
