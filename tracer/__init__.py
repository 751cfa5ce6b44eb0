"""The machine room: traced children, the seccomp program, the event loop, registers, the gate."""
