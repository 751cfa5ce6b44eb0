"""What a call means: the tables, one per ABI, and the handlers behind them.

A handler is a plain function from a `Call` to a result.  It never touches ptrace or seccomp, so a test
can call it with no process at all; the `tracer` finds it through the table and carries its result out.
"""

__version__ = "0.1.0"
