"""The table of a validation, letter by letter."""

from lm_objectives.callbacks.validation_table import validation_table

VALUES = {
    "val/causal/loss": 4.95,
    "val/causal/uniform": 7.6246,
    "val/causal/unigram": 6.47,
    "val/causal/perplexity": 74.2,
    "val/causal/unigram_perplexity": 92.04,
    "val/causal/accuracy": 0.1512,
    "val/replaced/accuracy": 0.8,
    "val/replaced/loss": 7.31,
    "val/replaced/generator": 4.9,
    "val/replaced/perplexity": 134.29,
    "train/loss": 1.0,
}
BASELINES = {
    "causal": {
        "loss": ("uniform", "unigram"),
        "perplexity": ("unigram_perplexity",),
        "accuracy": ("commonest",),  # which was not measured
    },
    "replaced": {"loss": (), "accuracy": (("always original", 0.767),)},
    "absent": {"loss": ("coin",)},
}

EXPECTED = """\
objective  metric            model  baseline
---------  ----------------  -----  ----------------------------
causal     loss (nats)       4.950  uniform 7.625, unigram 6.470
           perplexity        74.2   unigram perplexity 92.0
           accuracy          0.151
replaced   loss (nats)       7.310
           accuracy          0.800  always original 0.767
           generator (nats)  4.900
           perplexity        134.3"""


def test_table() -> None:
    nats = {"causal": {"loss"}, "replaced": {"loss", "generator", "discriminator"}, "absent": {"loss"}}
    assert validation_table(VALUES, BASELINES, nats) == EXPECTED
