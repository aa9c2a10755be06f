"""Which model, how much of the prompt, and why: decisions as pure functions."""
