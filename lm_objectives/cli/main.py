"""The commands: LightningCLI for `fit`, `validate` and `prepare`, plain functions for the others."""

import logging
import signal
import sys
import threading
import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import Any, get_args, get_type_hints

from lightning.pytorch.utilities.exceptions import SIGTERMException

from lm_objectives.cli.arguments import Parser, join_lists
from lm_objectives.cli.faults import fault_message, has_diverged, is_of_this_rank
from lm_objectives.cli.lightning_cli import PROGRAM, make_cli
from lm_objectives.cli.messages import user_message
from lm_objectives.cli.ranks import follow_parent, is_first, outlives_first

_MODULES = {"compare": "cli.compare", "configs": "cli.configs", "evaluate": "evaluation.command"}

_NAMED = {"compare": "--study", "configs": "--name"}
"""Commands whose first argument may go without its flag."""


def run(arguments: Sequence[str]) -> int:
    """Run a command; what ends it is one line on stderr.

    The exit code is 2 for bad input, 1 for a fault of the machine, 3 for losses or scores that are not finite.
    """
    command, rest = arguments[0], list(arguments[1:])
    _quieten()
    follow_parent()
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, _leave)  # until a training has its own way to stop
        if command in ("fit", "validate", "prepare"):
            _train(command, rest)
        else:
            _tool(command, rest)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except SIGTERMException:  # a SystemExit without a code, which would be success
        return 128 + signal.SIGTERM
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):  # Lightning turns the one into the other
            return 128 + signal.SIGINT
        raise
    except Exception as error:
        message, code = user_message(error), 2
        if message is None:
            message, code = fault_message(error), 3 if has_diverged(error) else 1
        if message is None:
            raise  # a defect, whose traceback is wanted
        if code != 2 and command == "fit" and "--ckpt_path" not in message:
            message += "; where the run has saved a checkpoint, --ckpt_path last goes on from it"
        if is_first() or outlives_first() or (code != 2 and is_of_this_rank(error)):
            print(f"{PROGRAM}: error: {message}", file=sys.stderr)
        return code
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, on_sigterm)
    return 0


def _leave(signum: int, frame: Any) -> None:
    raise SIGTERMException(128 + signum)


def _is_not_about_masks(record: logging.LogRecord) -> bool:
    """False for the advice to pass an `attention_mask`: rows here carry their lengths or their documents."""
    return "attention_mask" not in record.getMessage()


def _quieten() -> None:
    """Silence what libraries say on every run."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    logging.getLogger("transformers.modeling_utils").addFilter(_is_not_about_masks)
    logging.getLogger("lm_objectives").setLevel(logging.INFO)
    logging.getLogger("lm_objectives").handlers = [logging.StreamHandler()]  # to stderr as it is now
    for message in (
        ".*does not have many workers.*",
        ".*treespec.*",
        ".*Checkpoint directory .* exists and is not empty.*",
        ".*You are using `torch.load`.*",
        ".*Found .* module.s. in eval mode.*",
        ".*sync_dist=True.*",  # held-out metrics are those of all ranks already
    ):
        warnings.filterwarnings("ignore", message)


def _train(command: str, arguments: list[str]) -> None:
    program, sys.argv = sys.argv, [sys.argv[0], command, *arguments]  # a DDP launcher starts the other ranks from it
    try:
        make_cli(command, arguments)
    finally:
        sys.argv = program


def _tool(command: str, arguments: list[str]) -> None:
    module = _MODULES.get(command, f"{command}.command")
    function = getattr(import_module(f"lm_objectives.{module}"), command)
    if command in _NAMED and arguments and not arguments[0].startswith("-"):
        arguments = [_NAMED[command], *arguments]
    arguments = join_lists(
        arguments, [name for name, hint in get_type_hints(function).items() if list[str] in get_args(hint)]
    )
    parser = Parser(prog=f"{PROGRAM} {command}", description=(function.__doc__ or "").split("\n\n")[0])
    parser.add_function_arguments(function, as_group=False)
    for action in parser._actions:
        if action.default is False:  # a switch, which needs no value
            action.nargs, action.const = "?", True
    function(**parser.instantiate(parser.parse_args(arguments)))
