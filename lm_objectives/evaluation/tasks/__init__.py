"""What a model is evaluated on, one file for each kind of task."""
