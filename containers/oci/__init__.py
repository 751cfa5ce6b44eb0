"""Containers by the specification of the Open Container Initiative, runtime-spec 1.2."""
