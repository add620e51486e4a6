"""The command `evaluate`: what a model is worth, by every reading it has."""

import os
from pathlib import Path

from lm_objectives.errors import expect
from lm_objectives.evaluation.evaluate import (
    TASKS,
    check_settings,
    choose_device,
    choose_readings,
    make_tasks,
    run_tasks,
)
from lm_objectives.evaluation.halves import Documents
from lm_objectives.evaluation.model import from_checkpoint, from_folder
from lm_objectives.evaluation.picture import draw
from lm_objectives.evaluation.results import Evaluation
from lm_objectives.evaluation.scorer import Precision
from lm_objectives.evaluation.store import STORE
from lm_objectives.evaluation.tracking import log_alone
from lm_objectives.training.loggers import Tracking

_FOLDER_TASKS = "tasks for a folder, which has no held-out documents"


def evaluate(
    ckpt_path: str | None = None,
    folder: str | None = None,
    tasks: list[str] | None = None,
    readings: list[str] | None = None,
    items: int = 0,
    batch_tokens: int = 16384,
    device: str = "auto",
    precision: Precision = "32-true",
    seed: int = 0,
    documents: Documents = "all",
    output: str | None = None,
    import_module: str | list[str] | None = None,
    tracking: Tracking = Tracking(wandb="off"),  # noqa: B008 (frozen)
) -> Evaluation:
    """Score a model by each way of reading that its heads have, on tasks of its own held-out text and of files.

    Writes evaluation.json and evaluation.png, and keeps the scores of single items next to them, so that a second call
    does not score them again. Prints the table.

    Args:
        ckpt_path: a checkpoint of this package, for example runs/quickstart/checkpoints/last.ckpt.
        folder: instead of one, a folder that transformers wrote: safetensors, configuration, tokenizer.
        tasks: held_out (nats, bits per byte, calibration), swaps (minimal pairs of held-out sentences), probes (what
            frozen states know), and name=path for each file of JSON lines with minimal pairs, options or labelled
            texts. By default the first three for a checkpoint.
        readings: ways of reading, such as causal, masked, masked_word or detector; by default all that the model has.
        items: of each group of a task, at most, the same for each reading; 0 takes all.
        batch_tokens: tokens of a batch, at most; what fits the memory of the device.
        device: auto, cpu, cuda, cuda:1, mps.
        precision: of the products.
        seed: chooses the items, and draws what tasks make.
        documents: which of the run's held-out documents: all, or the half to tune settings on, or the one to report.
        output: the file for the results; by default evaluation.json in the run's folder, or in the folder itself.
        import_module: module of yours, or several, whose classes the checkpoint names; no other is imported for it.
        tracking: logs the numbers and the table to Weights & Biases too; off by default.

    Raises:
        InputError: when the model cannot be read, a task or a reading is unknown, or output cannot be written.
    """
    check_settings(items, batch_tokens, seed, precision, documents)
    found = "both" if ckpt_path and folder else "neither"
    expect((ckpt_path is None) != (folder is None), "either ckpt_path or folder", found, "give one of them")
    expect(tasks is not None or ckpt_path is not None, _FOLDER_TASKS, "none", "give --tasks name=path")
    chosen = [kind() for kind in TASKS.values()] if tasks is None else make_tasks(tasks)
    on = choose_device(device)
    expect(not (on.type == "mps" and precision == "64-true"), "a device with double precision", on, "take --device cpu")
    target = _output(output, ckpt_path or folder or "")
    model = from_checkpoint(ckpt_path, import_module or ()) if ckpt_path else from_folder(folder or "")
    wanted = choose_readings(model.readings, readings)
    model.module.to(on)
    evaluation = run_tasks(
        model,
        chosen,
        wanted,
        items=items,
        batch_tokens=batch_tokens,
        precision=precision,
        seed=seed,
        documents=documents,
        store=target.parent / STORE,
        leaves_out=tasks is None,
    )
    evaluation.save(target)
    picture = target.with_suffix(".png")
    drawn = draw(evaluation, picture)
    print("\n".join([evaluation.table(), *evaluation.notes]))
    print(f"\nwrote {target}{f' and {picture}' if drawn else ''}")
    log_alone(evaluation, tracking, _folder_of(ckpt_path) if ckpt_path else target.parent)
    return evaluation


def _output(output: str | None, source: str) -> Path:
    """The file for the results, in a folder that can be written to."""
    target = _folder_of(source) / "evaluation.json" if output is None else Path(output).expanduser()
    mend = "end it in .json, next to which the picture and the single scores go"
    expect(target.suffix == ".json", "a .json file for output", target.name, mend)
    store = target.parent / STORE
    expect(not store.exists() or store.is_dir(), f"a folder for single scores at {store}", "a file", "move it away")
    there = next(parent for parent in target.absolute().parents if parent.exists())
    writable = there.is_dir() and os.access(there, os.W_OK) and not target.is_dir()
    expect(writable, f"a file to write results to at {target}", "one that cannot be written", "choose another output")
    return target


def _folder_of(source: str) -> Path:
    """The folder of the run that a checkpoint belongs to, or a folder itself."""
    path = Path(source).expanduser()
    if path.is_file():
        return path.parent.parent if path.parent.name == "checkpoints" else path.parent
    return path
