"""A project in which the training recipe is executable: one command a step. Start with `recipe --help`."""
