"""A kubevip announcer that calls a program."""
