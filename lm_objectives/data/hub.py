"""Names on the Hugging Face hub, told from mistyped paths."""

import re
from pathlib import Path

_NAME = re.compile(r"([A-Za-z0-9][\w.-]*/)?[A-Za-z0-9][\w.-]*")


def may_be_on_hub(name: str) -> bool:
    """Whether a name under which nothing lies here is worth asking the hub for: `name` or `owner/name`.

    Where the owner is a folder here, a path was meant; the hub would take long to say no where there is no network.
    """
    return _NAME.fullmatch(name) is not None and ("/" not in name or not Path(name).parent.exists())
