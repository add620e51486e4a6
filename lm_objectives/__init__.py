"""Multi-objective language-model pretraining on PyTorch Lightning."""

from importlib.metadata import version

import lazy_loader

__version__ = version("lm-objectives")

# Names are imported on first use, from where `__init__.pyi` says, so that `lm-objectives --help` need not load torch.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
