"""A step of ours over a peer's, in the same process, step by step in turn.

    python benchmarks/step.py joint     four objectives, against a plain PyTorch loop with one pass for each
    python benchmarks/step.py masked    masked tokens alone, against Hugging Face's Trainer and collator
    python benchmarks/step.py causal    next token alone, against Hugging Face's Trainer and collator

Shipped corpus, vocabulary 8,192, width 256, 4 layers, 32 rows of 128 tokens, AdamW. Ours is timed with everything that
Lightning's Trainer does, making the rows included. The plain loop is given our rows ready-made.
"""

import argparse
import copy
from typing import Any

import torch
import torch.nn.functional as F
from alternate import Alternation, Turn
from loops import data, fit, four_objectives, module

from lm_objectives import Pretraining, TextDataModule
from lm_objectives.data.dataset import Batch
from lm_objectives.data.plan import ObjectiveRows
from lm_objectives.objectives import CausalLM, MaskedLM
from lm_objectives.views import View

WINDOW, ROWS, VOCABULARY = 128, 32, 8192


class PlainLoop:
    """The four objectives as one writes them by hand: for each a pass, its logits and a mean loss."""

    def __init__(self, like: Pretraining) -> None:
        self.m = copy.deepcopy(like)
        self.optimizer = torch.optim.AdamW(self.m.parameters(), lr=1e-3, weight_decay=0.1)

    def hidden(self, model: Any, view: View, **inputs: Any) -> torch.Tensor:
        time = view.input_ids.shape[1]
        mask = torch.arange(time) < view.lengths[:, None]
        if view.attention == "causal":
            square = mask[:, None, :] & torch.ones(time, time, dtype=torch.bool).tril()
            return model(attention_mask=square[:, None], **inputs).last_hidden_state
        return model(attention_mask=mask.long() if view.padded else None, **inputs).last_hidden_state

    def step(self, batch: Batch) -> None:
        model, objectives = self.m.backbone.model, self.m.objectives
        embedding = model.get_input_embeddings().weight
        views, losses = batch.views, []

        def token_loss(states: torch.Tensor, view: View, bias: torch.Tensor | None = None) -> torch.Tensor:
            return F.cross_entropy(F.linear(states, embedding, bias), view.targets)

        view = views["causal"]
        hidden = self.hidden(model, view, input_ids=view.input_ids).flatten(0, 1)
        losses.append(token_loss(hidden[view.label_positions], view))

        view, head = views["masked"], objectives["masked"]
        hidden = self.hidden(model, view, input_ids=view.input_ids).flatten(0, 1)
        losses.append(token_loss(head.transform(hidden[view.label_positions]), view, head.bias))

        view, head = views["order"], objectives["order"]
        hidden = self.hidden(model, view, input_ids=view.input_ids, token_type_ids=view.token_type_ids)
        losses.append(F.cross_entropy(head.classifier(torch.tanh(head.dense(hidden[:, 0]))), view.targets))

        view, head = views["replaced"], objectives["replaced"]
        small = head.project_in(F.embedding(view.input_ids, embedding))
        states = head.transform(
            self.hidden(head.generator.model, view, inputs_embeds=small).flatten(0, 1)[view.label_positions]
        )
        logits = F.linear(states, embedding, head.bias)
        losses.append(F.cross_entropy(logits, view.targets))
        with torch.no_grad():
            samples = torch.multinomial(logits.softmax(1), 1).squeeze(1)
            ids = view.input_ids.flatten().clone()
            ids[view.label_positions] = samples
            labels = torch.zeros_like(ids, dtype=torch.float)
            labels[view.label_positions] = (samples != view.targets).float()
        hidden = self.hidden(model, view, input_ids=ids.view_as(view.input_ids))
        scores = head.classifier(F.gelu(head.dense(hidden))).flatten()
        losses.append(50 * F.binary_cross_entropy_with_logits(scores, labels))

        torch.stack(losses).sum().backward()
        self.optimizer.step()
        self.optimizer.zero_grad()


def joint() -> Alternation:
    """Ours and the plain loop, which takes each step on the rows that ours has just had."""
    rows = data(ROWS, WINDOW, VOCABULARY)
    trained = module(four_objectives(), 256, 4)
    rows.prepare_data()
    rows.open(trained.sources)
    built = copy.deepcopy(trained)
    built.build(rows.vocabulary, WINDOW, 100_000)
    plain, last = PlainLoop(built), []

    def ours(turn: Turn) -> None:
        def pass_on(batch: Batch) -> None:
            last[:] = [batch]
            turn()

        fit(trained, data(ROWS, WINDOW, VOCABULARY), pass_on)

    def peer(turn: Turn) -> None:
        while True:
            plain.step(last[0])
            turn()

    return Alternation({"ours": ours, "peer": peer})


def alone(name: str) -> Alternation:
    """Ours with one objective and Hugging Face's Trainer, with the same model and the same windows of text."""
    import transformers

    objective = {"masked": MaskedLM, "causal": CausalLM}[name]()
    family = {"masked": "bert", "causal": "llama"}[name]
    rows: TextDataModule = data(ROWS, WINDOW, VOCABULARY)
    rows.prepare_data()
    rows.open({name: ObjectiveRows(objective.corruption)})
    trained = module({name: objective}, 256, 4, model_type=family)
    built = copy.deepcopy(trained)
    built.build(rows.vocabulary, WINDOW, 100_000)
    kind = {"masked": transformers.AutoModelForMaskedLM, "causal": transformers.AutoModelForCausalLM}[name]
    tokens = torch.from_numpy(rows.text.training.tokens.astype("int64"))
    windows = [{"input_ids": window} for window in tokens.split(WINDOW) if len(window) == WINDOW]

    class EndOfStep(transformers.TrainerCallback):
        def __init__(self, turn: Turn) -> None:
            self.turn = turn

        def on_step_end(self, *_: Any, **__: Any) -> None:
            self.turn()

    def peer(turn: Turn) -> None:
        settings = transformers.TrainingArguments(
            output_dir=rows.cache,
            per_device_train_batch_size=ROWS,
            max_steps=100_000,
            max_grad_norm=0.0,
            weight_decay=0.1,
            use_cpu=True,
            report_to=[],
            logging_strategy="no",
            save_strategy="no",
            disable_tqdm=True,
        )
        collator = transformers.DataCollatorForLanguageModeling(
            rows.text.tokenizer, mlm=name == "masked", mlm_probability=0.15
        )
        transformers.Trainer(
            model=kind.from_config(built.backbone.config, attn_implementation="sdpa"),
            args=settings,
            data_collator=collator,
            train_dataset=windows,
            callbacks=[EndOfStep(turn)],
        ).train()

    def ours(turn: Turn) -> None:
        fit(trained, data(ROWS, WINDOW, VOCABULARY), lambda _: turn())

    return Alternation({"ours": ours, "peer": peer})


def main() -> None:
    """Print both medians and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["joint", "masked", "causal"])
    parser.add_argument("--rounds", type=int, default=24, help="counted pairs of steps")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    race = joint() if arguments.what == "joint" else alone(arguments.what)
    race.run(arguments.rounds)
    middle, lower, upper = race.ratio("ours", "peer")
    print(f"{arguments.what}: {arguments.rounds} pairs, {arguments.threads} threads")
    for name in ("ours", "peer"):
        speed = ROWS * WINDOW / race.milliseconds(name) * 1e3
        print(f"{name}  {race.milliseconds(name):8.1f} ms a step  {speed:8,.0f} tokens/s")
    print(f"time of ours over the peer's: {middle:.3f} (quartiles {lower:.3f} to {upper:.3f})")
    print(f"tokens/s of ours over the peer's: {1 / middle:.3f}")


if __name__ == "__main__":
    main()
