"""How the calls about processes read: starting and ending them, waiting for them, and what they are allowed."""

from __future__ import annotations

from abi.decoding.signals import CALLS as SIGNALS
from abi.decoding.signals import siginfo, signal_name
from abi.decoding.values import Signature

__all__ = ["CALLS", "siginfo", "signal_name"]

CALLS: dict[str, Signature] = {**SIGNALS}
