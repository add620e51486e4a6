"""Demo lines for generated text: continuations, restored spans, restored documents."""

from collections.abc import Collection, Iterator, Sequence
from itertools import pairwise, takewhile

from torchmetrics.functional.text import rouge_score

from lm_objectives.demo.context import DemoContext
from lm_objectives.demo.generate import generate, greedy_token
from lm_objectives.demo.show import show
from lm_objectives.demo.terminal import list_items, wrap
from lm_objectives.errors import expect
from lm_objectives.objectives import CausalLM, PrefixLM, SpanDenoising, TextDenoising

_SMALL = 50_000_000  # parameters below which sampled text does not read as text
_ALIGNED = 32  # characters of a span up to which what is generated begins in one column


@show.register(CausalLM)
@show.register(PrefixLM)
def show_continuation(objective: CausalLM | PrefixLM, context: DemoContext) -> Iterator[str]:
    """The prompt and a continuation.

    Where both are longer than the window, CausalLM sees the last of it. PrefixLM reads a prefix that leaves half of the
    window to the continuation.
    """
    label, prompt, most = "given:    ", context.prompt, context.sampling.tokens
    mode = context.vocabulary.token_ids(objective.corruption.special_tokens(context.module.seq_len)).tolist()
    if isinstance(objective, PrefixLM):
        label, room = "prefix:   ", context.module.seq_len - len(mode)
        most = min(most, room // 2)
        prompt = prompt[most - room :]
    read = [*mode, *prompt][-context.module.seq_len :]
    generated = generate(objective, context.module, read, context.sampling.token_sampler(), most)
    ids = prompt[1:] if prompt[0] == context.vocabulary.bos else prompt
    given, whole = context.decode(ids), context.decode([*ids, *generated])
    yield from wrap(f"{label} {given}")
    yield from wrap(f"continued: {whole[len(given) :]}")
    size = sum(parameter.numel() for parameter in context.module.backbone.parameters())
    if size < _SMALL:
        yield f"  (Text sampled from a small model is poor, and this one has {size / 1e6:.1f} M parameters.)"


@show.register(SpanDenoising)
def show_span_denoising(objective: SpanDenoising, context: DemoContext) -> Iterator[str]:
    """The text with sentinels, and for each what is generated greedily, at most twice as much as is right.

    Raises:
        InputError: where the text has no span to leave out.
    """
    corruption, end = objective.corruption, context.vocabulary.eos
    view = corruption.corrupt(context.excerpt(corruption), context.vocabulary)
    names = [token for token in corruption.special_tokens(context.module.seq_len) if token != corruption.mode]
    sentinels = set(context.vocabulary.token_ids(names).tolist())
    right = split_at_sentinels(view.targets.tolist(), sentinels, end)
    expect(bool(right), "a text of 2 tokens to leave a span out of", "a shorter one", "give a longer text")
    length = view.lengths if view.prefix_lengths is None else view.prefix_lengths
    source = view.input_ids[0, : int(length)].tolist()
    most = min(2 * len(view.targets), context.module.seq_len - (0 if corruption.uses_decoder else len(source)))
    generated = generate(objective, context.module, source, greedy_token, most)
    written = split_at_sentinels(generated, sentinels, end)
    yield from wrap(context.decode([token for token in source if token != end]).strip())
    names_width = max(len(context.decode([token])) for token in right)
    width = min(max(len(context.quote(*span)) for span in right.values()), _ALIGNED)
    hits = [written.get(token) == span for token, span in right.items()]
    for (token, span), hit in zip(right.items(), hits, strict=True):
        guess = context.quote(*written[token]) if token in written else "nothing"
        items = [f"right: {context.quote(*span):<{width}}", f"written: {guess}"]
        yield from list_items(f"  {context.decode([token]):<{names_width}} {'hit ' if hit else 'miss'} ", items)
    yield f"  {sum(hits)} of {len(right)} spans restored"


def split_at_sentinels(ids: Sequence[int], sentinels: Collection[int], end: int) -> dict[int, list[int]]:
    """The tokens after each sentinel, where it comes first, up to the next or the end.

    <0>  for  inviting  <1>  last  week  [EOS]        <0>: for inviting    <1>: last week
    """
    written, found = list(takewhile(lambda token: token != end, ids)), dict[int, list[int]]()
    places = [at for at, token in enumerate(written) if token in sentinels]
    for at, stop in pairwise([*places, len(written)]):
        found.setdefault(written[at], written[at + 1 : stop])
    return found


@show.register(TextDenoising)
def show_text_denoising(objective: TextDenoising, context: DemoContext) -> Iterator[str]:
    """The corrupted text, what is generated greedily, as many tokens as are right, and the right one.

    Raises:
        InputError: where the text has nothing to leave out.
    """
    known = context.vocabulary
    view = objective.corruption.corrupt(context.excerpt(objective.corruption), known)
    source, right = view.input_ids[0, : int(view.lengths)].tolist(), view.targets.tolist()
    expect(known.mask in source, "a text with a word to leave out", "none", "give a longer text")
    generated = generate(objective, context.module, source, greedy_token, len(right))
    texts = [[token for token in ids if token not in (known.bos, known.eos)] for ids in (source, generated, right)]
    for label, ids in zip(("corrupted:", "written:  ", "right:    "), texts, strict=True):
        yield from wrap(f"{label} {context.decode(ids).strip()}")
    source, generated, right = texts
    kept = len_common(source, right)
    yield f"  {len_common(generated, right)} of {len(right)} right tokens in their order; the corrupted text has {kept}"


def len_common(ids: Sequence[int], right: Sequence[int]) -> int:
    """Length of the longest common subsequence: ROUGE-L's recall (Lin 2004, section 3) of so many right tokens.

    a b c d   against   x a c y d        a c d, which is 3
    """
    found, wanted = (" ".join(map(str, tokens)) for tokens in (ids, right))
    return round(float(rouge_score(found, wanted, rouge_keys="rougeL")["rougeL_recall"]) * len(right))
