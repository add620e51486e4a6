"""Ways of reading a text with a trained head, one file for each objective."""
