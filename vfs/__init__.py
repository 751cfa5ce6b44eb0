"""Names to files: mounts, the path walk, host directories, tmpfs, procfs and devfs.

Nothing here knows of ptrace, of seccomp or of a call's registers.  Errors are ``OSError`` with an
errno, as Python's own file functions raise them; `abi` turns them into what a guest sees.
"""
