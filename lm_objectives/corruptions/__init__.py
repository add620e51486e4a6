"""From text to input and labels: a corruption for each objective, as a pure function of each row's key."""
