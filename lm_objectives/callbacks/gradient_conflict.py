"""Log cosines and norms of the objectives' gradients: whether they pull the shared model apart."""

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import numpy as np
import torch
from jaxtyping import Float
from lightning.pytorch.loggers import WandbLogger
from torch import Tensor

from lm_objectives.errors import expect
from lm_objectives.files import atomic_write


class GradientConflict(L.Callback):
    """Logs, every n steps, cosines and norms of the objectives' gradients on the last shared layer.

        cosine(a, b) = ⟨g_a, g_b⟩ / (‖g_a‖ ‖g_b‖),   g_i = ∇ L_i

    g_i is the gradient of the unweighted loss of the whole optimizer step, over all ranks and micro-batches, on the
    parameters of the backbone's last layer (of the one that the balancer chose, where it chose one). A cosine below 0
    is a conflict: a small step along one gradient raises the other's loss (Yu et al., "Gradient Surgery for Multi-Task
    Learning", NeurIPS 2020, section 2.2).

    Logs `gradients/<a>/<b>/cosine`, in [-1, 1], once for each pair, and `gradients/<a>/norm`, in nats per unit of the
    parameters. An objective without rows or of weight 0 in a step is left out of it. At the end of the run
    `gradient_conflict.png` is written next to `metrics.csv`. In a measured step that layer runs once for each
    objective; the other steps cost nothing.

    Args:
        every_n_steps: optimizer steps from one measurement to the next, at least 1; the first is at step 0.
    """

    def __init__(self, every_n_steps: int = 100) -> None:
        expect(every_n_steps >= 1, "every_n_steps of at least 1", every_n_steps, "raise it", "GradientConflict")
        self.every_n_steps = every_n_steps
        self._measured: dict[int, tuple[list[list[float]], list[float]]] = {}  # by step: cosines and norms

    def state_dict(self) -> dict[str, Any]:
        return {"measured": self._measured}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._measured = dict(state_dict["measured"])

    def setup(self, trainer: L.Trainer, pl_module: Any, stage: str) -> None:
        del trainer
        if stage == "fit":
            pl_module.watch_every, self._measured = self.every_n_steps, {}

    def teardown(self, trainer: L.Trainer, pl_module: Any, stage: str) -> None:
        del trainer, stage
        pl_module.watch_every = None

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *_: Any) -> None:
        last = pl_module.last_step
        if last is None or last.gradients is None or not last.finite or last.step in self._measured:
            return
        cosines, norms = (values.tolist() for values in cosines_and_norms(last.gradients))
        self._measured[last.step] = cosines, norms
        names: Sequence[str] = pl_module.names
        values = {f"gradients/{name}/norm": norm for name, norm in zip(names, norms, strict=True)}
        for (i, a), (j, b) in combinations(enumerate(names), 2):
            values[f"gradients/{a}/{b}/cosine"] = cosines[i][j]
        for logger in trainer.loggers:  # not through the module, which hands on only every log_every_n_steps
            logger.log_metrics({key: value for key, value in values.items() if value == value}, last.step)

    def on_fit_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        picture = Path(trainer.log_dir or trainer.default_root_dir) / "gradient_conflict.png"  # asks all ranks
        if not self._measured or not trainer.is_global_zero or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        cosines, norms = (np.array(values) for values in zip(*self._measured.values(), strict=True))
        draw_conflict(picture, pl_module.names, list(self._measured), cosines, norms)
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_image("gradients/conflict", [str(picture)])


def cosines_and_norms(
    gradients: Float[Tensor, "objectives parameters"],
) -> tuple[Float[Tensor, "objectives objectives"], Float[Tensor, " objectives"]]:
    """Cosines of each two gradients, and the norm of each; NaN for a gradient of 0, which an objective left out has.

    >>> import torch
    >>> cosines, norms = cosines_and_norms(torch.tensor([[3.0, 4.0], [-8.0, 6.0]]))
    >>> cosines.tolist(), norms.tolist()
    ([[1.0, 0.0], [0.0, 1.0]], [5.0, 10.0])
    """
    wide = gradients.to(torch.promote_types(gradients.dtype, torch.float32))
    norms = torch.linalg.vector_norm(wide, dim=1)
    norms = torch.where(norms > 0, norms, torch.nan)
    directions = wide / norms[:, None]
    return (directions @ directions.T).clamp(-1, 1), norms


def draw_conflict(
    picture: Path,
    names: Sequence[str],
    steps: Sequence[int],
    cosines: Float[np.ndarray, "measurements objectives objectives"],
    norms: Float[np.ndarray, "measurements objectives"],
) -> None:
    """Draw the cosines' mean over the run as a matrix, and the norms over the steps.

    Args:
        picture: the PNG to write.
        names: of the objectives.
        steps: the measured steps.
        cosines, norms: of `cosines_and_norms`, at each of the steps.
    """
    from matplotlib.figure import Figure

    mean = np.ma.masked_invalid(cosines).mean(axis=0)
    figure = Figure(figsize=(8.5, 3.6), layout="constrained")
    matrix, lines = figure.subplots(1, 2)
    image = matrix.imshow(mean, cmap="RdBu", vmin=-1, vmax=1)
    figure.colorbar(image, ax=matrix)
    for (row, column), value in np.ma.ndenumerate(mean):
        shade = "white" if abs(value) > 0.6 else "black"
        matrix.text(column, row, f"{value:.2f}", ha="center", va="center", color=shade)
    matrix.set_xticks(range(len(names)), names, rotation=30)
    matrix.set_yticks(range(len(names)), names)
    matrix.set_title(f"mean cosine over {len(steps)} steps")
    for column, name in enumerate(names):
        lines.plot(steps, norms[:, column], marker=".", label=name)
    lines.set(title="gradient norm on the last shared layer", xlabel="step")
    if (norms > 0).any():
        lines.set_yscale("log")
    lines.legend(fontsize=7)
    with atomic_write(picture) as file:
        figure.savefig(file, format="png", dpi=120)
