"""A checkpoint as Hugging Face folders, one for each objective that transformers has a head for."""

from lm_objectives.export.command import export

__all__ = ["export"]
