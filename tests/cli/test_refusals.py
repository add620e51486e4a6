"""Values of the wrong type are said in one short line; oracle, the sentence that a person would write."""

import pytest
from jsonargparse import ArgumentError
from lightning.pytorch import Trainer
from torch.optim import Optimizer

from lm_objectives import Balancer, LRSchedule, TextDataModule
from lm_objectives.cli.arguments import Parser
from lm_objectives.cli.messages import user_message
from lm_objectives.cli.refusals import shorten_refusal
from lm_objectives.objectives import Objective

CASES = {
    "--data.seq_len=true": "expected a whole number or pairs [when, value] for data.seq_len, found true",
    "--data.global_batch_size=1e300": "expected a whole number for data.global_batch_size, found 1e+300",
    "--data.global_batch_size=": "expected a whole number for data.global_batch_size, found nothing",
    "--data.packing=3": "expected true, false or null for data.packing, found 3",
    "--data.corpus_weights=[a]": "expected a list of numbers or null for data.corpus_weights, found ['a']",
    f"--data.corpus_cap=[{'7, ' * 99}7]": "expected a whole number or null for data.corpus_cap, found ["
    + f"{'7, ' * 30}"[:59]
    + "…",
    "--schedule.kind=cosin": "expected constant, linear, cosine, inverse_sqrt, step or wsd for "
    "schedule.kind, found cosin",
    "--schedule.milestones=3": "expected a list for schedule.milestones, found 3",
    "--trainer.gradient_clip_val=[]": "expected a number or null for trainer.gradient_clip_val, found []",
    "--trainer.callbacks=[math.sqrt]": "expected a class that inherits from Callback "
    "for trainer.callbacks, found math.sqrt",
    "--balancer={class_path: GradNorm, init_args: {alpha: x}}": "expected a number for balancer.alpha, found x",
    "--balancer={class_path: Fixed, init_args: {weights: 3}}": "expected names with values or null for "
    "balancer.weights, found 3",
    "--balancer={class_path: Curriculum, init_args: {pace: math.sqrt}}": "expected a class that inherits from "
    "PacingFunction for balancer.pace, found math.sqrt",
    "--model.objectives={m: {class_path: MaskedLM, init_args: {mask_rate: a}}}": "expected a number or pairs [when, "
    "value] for mask_rate of MaskedLM in model.objectives, found a",
    "--optimizer={class_path: AdamW, init_args: {lr: nan}}": "expected a number for optimizer.lr, found nan",
    "--optimizer={class_path: AdamW, init_args: {betas: []}}": "expected a list of 2 values for "
    "optimizer.betas, found []",
}


@pytest.fixture(scope="module")
def parser() -> Parser:
    made = Parser(exit_on_error=False)
    for name, kind in {"data": TextDataModule, "schedule": LRSchedule, "trainer": Trainer}.items():
        made.add_class_arguments(kind, name)
    made.add_argument("--balancer", type=Balancer | None)
    made.add_argument("--model.objectives", type=dict[str, Objective])
    made.add_subclass_arguments(Optimizer, "optimizer", required=False, skip={"params"})
    return made


@pytest.mark.parametrize("argument", CASES)
def test_expected_found_and_key(argument: str, parser: Parser) -> None:
    with pytest.raises(ArgumentError) as raised:
        parser.parse_args([argument])
    line = user_message(raised.value)
    assert line is not None and line.rpartition(": write one")[0] == CASES[argument]


@pytest.mark.parametrize("message", ["unrecognized arguments: --x", 'Parser key "a": Something else'])
def test_what_is_no_wrong_type_stays(message: str) -> None:
    assert shorten_refusal(message.replace(": ", ":\n  ")) == message
