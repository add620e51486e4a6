"""From a corpus to its token cache."""
