"""Text in, less text out: measuring and fitting prompts, with no I/O of its own."""
