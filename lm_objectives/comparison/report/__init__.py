"""What is found, in words, tables and pictures."""
