"""What a trained model is worth: readings of its heads, and tasks that they are scored on."""
