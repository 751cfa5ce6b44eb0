"""Tables of names, ``{value: name}``, one module per area; from the kernel's own headers."""
