"""What may be wrong with a configuration; apart from reading one, which needs more."""

from __future__ import annotations


class ConfigError(Exception):
    """A config.json that cannot be used; the message is one line that names file, property and value."""
