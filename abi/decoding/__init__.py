"""How a call reads: arguments, structures, flags and results in the words of strace(1).

Pure functions from a `View` (registers, the caller's memory, a style) to text; nothing here knows ptrace.
`values` has the printers that all areas share, `constants` the tables of names, one module per area lists its
calls' signatures, and `calls.SIGNATURES` is all of them by name.
"""
