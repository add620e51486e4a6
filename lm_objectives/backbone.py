"""Any Hugging Face decoder-only or encoder-only model behind one entry, with the attention that a view asks for."""

import copy
import inspect
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from lm_objectives.corruption.base import Attention, View, Vocabulary
from lm_objectives.plugin import Plugin

_EPSILONS = ("layer_norm_eps", "norm_eps", "layer_norm_epsilon", "rms_norm_eps")
_ACTIVATIONS = {"bert": None}  # BERT's head has the model's own activation, the others' a GELU

_PATTERNS: dict[Attention, Attention] = {"causal": "bidirectional", "bidirectional": "causal"}
_ROUNDING = 1e-5  # of hidden states in float32, relative to the largest


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
        check_attention(self.config)
        self._attach(self._load(vocabulary) if self.pretrained else _from_config(self.config))

    def _configuration(self, vocabulary: Vocabulary) -> Any:
        from transformers import AutoConfig

        tokens = {"pad_token_id": vocabulary.pad, "bos_token_id": vocabulary.bos, "eos_token_id": vocabulary.eos}
        if self.pretrained:
            with _one_line(f"a configuration of transformers in {self.pretrained}", "check model.backbone.pretrained"):
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
        with _one_line(f"a {self.model_type} configuration that builds", "change model.backbone.config"):
            config = AutoConfig.for_model(self.model_type, **tokens | self.arguments | {"vocab_size": vocabulary.size})
        return config

    def _load(self, vocabulary: Vocabulary) -> nn.Module:
        from transformers import AutoModel

        assert self.pretrained is not None
        with _one_line(f"safetensors weights in {self.pretrained}", "check model.backbone.pretrained"):
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

    def shrunk(self, fraction: float) -> "Backbone":
        """A model of the same family and depth whose width is `fraction` of this one's, reading embeddings.

        ELECTRA's generator: it has no token embedding of its own.
        """
        config = _narrowed(self.config, fraction)
        small = Backbone(model_type=self.config.model_type)
        small.config = config
        small._attach(_from_config(config))
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
        plain = config.model_type == "modernbert"  # the one family here without these biases
        dense = nn.Linear(self.dim, dim, bias=config.classifier_bias if plain else True)
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

    @torch.no_grad()
    def leak(self) -> str | None:
        """What is wrong with the attention that views get, seen in hidden states; `None` where it is right.

        Each pattern is tried alone and, where no layer is windowed, merged with the other; with padding and without.
        """
        base = torch.arange(4, 10)
        ids = base.repeat(3, 1)
        ids[1, 2], ids[2, 4:] = 11, 12  # rows differ from the first in a token, and in what its padding holds
        sides = (False,) if self.windowed else (False, True)
        training = self.model.training
        self.model.eval()
        try:
            for attention, length, merged in itertools.product(_PATTERNS, (6, 4), sides):
                other = _PATTERNS[attention]
                views = [_bare(ids, length, attention), *([_bare(ids, 6, other)] if merged else [])]
                hidden = self.encode(views)[0]
                still = ((hidden - hidden[0]).abs() <= _ROUNDING * hidden.abs().amax()).all(-1)
                where = f"a {attention} view{' with padding' * (length < 6)}{' beside another' * merged}"
                if attention == "causal" and not still[1, :2].all():
                    return f"{where} sees what follows"
                if attention == "bidirectional" and (still[1, 1] if self.windowed else still[1, :2].any()):
                    return f"{where} does not see what follows"
                if still[1, 2:length].any() if not self.windowed else still[1, 2]:
                    return f"{where} does not see what precedes"
                if length < 6 and not still[2, :length].all():
                    return f"{where} sees what the padding holds"
        finally:
            self.model.train(training)
        return None

    def _attention(self, views: Sequence[View], time: int) -> dict[str, Any]:
        """The arguments that give each view its attention: no mask where none is needed, else a boolean one."""
        patterns = {view.attention for view in views}
        padded = any(view.padded for view in views)
        if patterns == {"causal"} and self._decoder:
            return {}  # padding is on the right, where no scored position looks
        if patterns == {"bidirectional"} and not self._decoder:
            return {"attention_mask": torch.cat([_real(view, time) for view in views]).long()} if padded else {}
        if patterns == {"bidirectional"} and not padded and not self.windowed:
            return {"is_causal": False}
        masks = []
        for view in views:
            mask = _real(view, time)[:, None, :].expand(-1, time, -1)
            if view.attention == "causal":
                mask = mask & torch.ones(time, time, dtype=torch.bool, device=mask.device).tril()
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


def _bare(ids: Tensor, length: int, attention: Attention) -> View:
    """A view in which nothing is scored and all rows are of one length."""
    none = ids.new_zeros(0)
    return View(ids, ids.new_full((len(ids),), length), attention, none, none, {}, length < ids.shape[1])


def _real(view: View, time: int) -> Tensor:
    """True where a row has a token and False where it is padded, `(rows, time)`."""
    return torch.arange(time, device=view.lengths.device) < view.lengths[:, None]


def _from_config(config: Any) -> nn.Module:
    from transformers import AutoModel

    with _one_line(f"a {config.model_type} configuration that builds", "change model.backbone.config"):
        return AutoModel.from_config(config, attn_implementation="sdpa", trust_remote_code=False)


def _narrowed(config: Any, fraction: float) -> Any:
    """A configuration of `fraction` of the width, with heads about as wide."""
    config = copy.deepcopy(config)
    heads = max(int(config.num_attention_heads * fraction), 1)
    width = max(round(config.hidden_size * fraction / heads / 2) * 2, 2) * heads  # rotary halves need even heads
    if getattr(config, "num_key_value_heads", None):
        config.num_key_value_heads = max(heads * config.num_key_value_heads // config.num_attention_heads, 1)
        while heads % config.num_key_value_heads:
            config.num_key_value_heads -= 1
    if getattr(config, "head_dim", None):
        config.head_dim = width // heads
    for name in ("intermediate_size", "n_inner"):
        if getattr(config, name, None):
            setattr(config, name, max(int(getattr(config, name) * fraction), 8))
    for name in ("embedding_size", "query_pre_attn_scalar"):
        if getattr(config, name, None):
            setattr(config, name, width if name == "embedding_size" else config.head_dim)
    config.hidden_size, config.num_attention_heads = width, heads
    return config


@contextmanager
def _one_line(expected: str, mend: str) -> Iterator[None]:
    """Whatever transformers raises for impossible sizes and unfit files, as one line."""
    from huggingface_hub.errors import StrictDataclassError

    unfit = (ValueError, TypeError, RuntimeError, AssertionError, ArithmeticError, LookupError, OSError)
    try:
        yield
    except (*unfit, StrictDataclassError) as error:
        cause = error.__cause__ if isinstance(error, StrictDataclassError) and error.__cause__ else error
        reason = " ".join(str(cause).split()).rstrip(".")
        raise ValueError(f"expected {expected}, found {type(cause).__name__} ({reason}): {mend}") from error


def check_config(config: Any) -> None:
    """Raise where a configuration is not that of a model which can be the backbone."""
    from transformers.models.auto.modeling_auto import MODEL_MAPPING

    kind = config.model_type
    if config.is_encoder_decoder:
        raise ValueError(
            f"expected a decoder-only or encoder-only backbone, found {kind}, which is both: "
            "llama and bert are examples"
        )
    heads = getattr(config, "num_attention_heads", None)
    if not is_language_model(kind) or heads is None:
        raise ValueError(f"expected a language model with attention heads, found {kind}: llama and bert are examples")
    if not getattr(MODEL_MAPPING[type(config)], "_supports_sdpa", False):
        raise ValueError(
            f"expected a backbone with sdpa attention, found {kind}, whose other attention lets own masks leak: "
            "choose another model_type"
        )
    if config.hidden_size % heads and not getattr(config, "head_dim", None):
        raise ValueError(
            f"expected a hidden_size that num_attention_heads divides, found {config.hidden_size} and {heads}: "
            "change one of them in model.backbone.config"
        )
    shared = getattr(config, "num_key_value_heads", None) or heads
    if heads % shared:
        raise ValueError(
            f"expected num_key_value_heads that divide num_attention_heads, found {shared} and {heads}: "
            "change one of them in model.backbone.config"
        )
    if config.num_hidden_layers < 1:
        raise ValueError(
            f"expected num_hidden_layers of at least 1, found {config.num_hidden_layers}: raise it in "
            "model.backbone.config"
        )


def check_attention(config: Any) -> None:
    """Raise where a family does not attend as views ask, tried on real weights of a few narrow layers.

    Some families ignore masks, or the argument that turns causality off, without a word.

    Raises:
        ValueError: where a view sees what it must not, does not see what it must, or does not run.
    """
    for shallow in _shallow(config):
        try:
            found = _leak_of(config.model_type, _narrowed(shallow, min(64 / config.hidden_size, 1)).to_json_string())
        except Exception:  # of sizes that do not shrink so; the true width is slower, and has its own messages
            with torch.device("meta"):
                _from_config(config)
            try:
                found = _leak_in(shallow)
            except Exception as error:
                found = f"a view raises {type(error).__name__} ({' '.join(str(error).split()).rstrip('.')})"
        if found:
            raise ValueError(
                f"expected a backbone whose attention can be set, found {config.model_type}, where {found}: "
                "llama and bert are examples"
            )


@lru_cache
def _leak_of(model_type: str, described: str) -> str | None:
    from transformers import CONFIG_MAPPING

    return _leak_in(CONFIG_MAPPING[model_type].from_dict(json.loads(described)))


def _leak_in(config: Any) -> str | None:
    """What is wrong with the attention of a model of this configuration, which draws no global random numbers."""
    generator = torch.Generator("cpu").manual_seed(0)
    with torch.device("cpu"), torch.random.fork_rng(devices=[]):
        trial = Backbone(model_type=config.model_type)
        trial.config = config
        trial._attach(_from_config(config).float())
        for parameter in trial.parameters():
            if parameter.ndim > 1:  # families draw weights so small that rounding hides what attention does
                nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5, generator=generator)
        return trial.leak()


def _shallow(config: Any) -> Iterator[Any]:
    """For each kind of layer a configuration of one alone; one of two layers where a family has no kinds."""
    depth, kinds = config.num_hidden_layers, getattr(config, "layer_types", None) or []
    for kept in [[kinds.index(kind)] for kind in dict.fromkeys(kinds)] or [list(range(min(depth, 2)))]:
        small = copy.deepcopy(config)
        for name, value in vars(config).items():
            if isinstance(value, list) and len(value) == depth:  # what is said of each layer
                small.__dict__[name] = [value[index] for index in kept]
            elif name.endswith("_token_id") and isinstance(value, int):
                setattr(small, name, 0)
        small.num_hidden_layers, small.vocab_size = len(kept), 16
        yield small


def is_language_model(model_type: str) -> bool:
    """Whether transformers has a causal or a masked head for a family."""
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    )

    return model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES or model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES


def is_decoder(model_type: str) -> bool:
    """Whether a family attends causally of itself: it has a causal head in transformers and no masked one."""
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    )

    return model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and model_type not in MODEL_FOR_MASKED_LM_MAPPING_NAMES


def has_windows(config: Any) -> bool:
    """Whether some layers attend to a neighbourhood only, so that an own mask would change what they see."""
    kinds = set(getattr(config, "layer_types", None) or [])
    sliding = getattr(config, "sliding_window", None) is not None and getattr(config, "use_sliding_window", True)
    return bool(kinds - {"full_attention"}) or sliding or getattr(config, "local_attention", None) is not None


def positions_of(config: Any) -> int | None:
    """The longest window a configuration's position embeddings hold; `None` where nothing bounds it."""
    limit = getattr(config, "max_position_embeddings", None)
    if limit is not None and config.model_type in ("roberta", "xlm-roberta", "camembert"):
        return limit - config.pad_token_id - 1  # positions start after the padding's number
    return limit
