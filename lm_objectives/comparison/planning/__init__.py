"""What a study will do: its arms, what they cost, and the steps that its budget pays."""
