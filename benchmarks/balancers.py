"""What a step costs under each balancer, over a step under Fixed.

    python benchmarks/balancers.py --width 128
    python benchmarks/balancers.py --width 256
    python benchmarks/balancers.py --width 128 --layers 24 --balancers GradNorm

Four objectives on the shipped corpus, rows of 128 tokens, vocabulary 8,192; a step of each balancer in turn.
"""

import argparse

import torch
from alternate import Alternation
from loops import data, fit, four_objectives, module

from lm_objectives.balancers import (
    Balancer,
    Curriculum,
    DynamicWeightAverage,
    Fixed,
    GradNorm,
    RandomWeights,
    Stages,
    TorchJD,
    Uncertainty,
)


def main() -> None:
    """Print a line for each balancer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=256, help="width of the backbone")
    parser.add_argument("--layers", type=int, default=4, help="layers of the backbone")
    parser.add_argument("--balancers", nargs="*", help="those that run beside Fixed, by name; all by default")
    parser.add_argument("--rows", type=int, default=32, help="rows of a step")
    parser.add_argument("--rounds", type=int, default=24, help="counted steps of each balancer")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    balancers: dict[str, Balancer] = {
        "Fixed": Fixed(),
        "Uncertainty": Uncertainty(),
        "Curriculum": Curriculum(Stages({"order": [[0.0, 0.5], [1.0, 1.0]]})),  # all are in, so that rows are equal
        "RandomWeights": RandomWeights(),
        "DynamicWeightAverage": DynamicWeightAverage(),
        "GradNorm": GradNorm(),
        "TorchJD UPGrad": TorchJD("UPGrad"),
    }
    if arguments.balancers:
        balancers = {name: balancers[name] for name in ("Fixed", *arguments.balancers)}
    data(arguments.rows, 128, 8192).prepare_data()

    def loop(balancer: Balancer):  # type: ignore[no-untyped-def]
        trained = module(four_objectives(), arguments.width, arguments.layers, balancer)
        return lambda turn: fit(trained, data(arguments.rows, 128, 8192), lambda _: turn())

    race = Alternation({name: loop(balancer) for name, balancer in balancers.items()})
    race.run(arguments.rounds)
    size = f"width {arguments.width}, {arguments.layers} layers"
    print(f"{size}, {arguments.rows} rows, {arguments.threads} threads, {arguments.rounds} rounds")
    for name in balancers:
        middle, lower, upper = race.ratio(name, "Fixed")
        spread = f"(quartiles {lower:.3f} to {upper:.3f})"
        print(f"{name:<22}{race.milliseconds(name):8.1f} ms   {middle:.3f} x Fixed   {spread}")


if __name__ == "__main__":
    main()
