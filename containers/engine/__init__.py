"""Containers that outlive the command that makes them, with a name, a log and changes that are kept: docker's habit.

Nothing here is imported where `int80 run` runs one command and is done.
"""
