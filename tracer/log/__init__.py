"""The call log: what tasks do, as events, and the forms in which a person or a program reads them.

`events` has the words, `recorder` makes events of what a tracer sees, `choice` says which, `host` is the tracer of
programs on the host as they are; each other module is one form of output (a sink).
"""
