"""Any Hugging Face language model as the shared backbone."""
