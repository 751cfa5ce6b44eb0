"""The linux ABI: its table, which the area modules fill; `abi.tables` gives it filled.

``x86-64`` numbers, arguments in rdi rsi rdx r10 r8 r9, a negative errno in rax.  A number without an entry
is ENOSYS.
"""

from __future__ import annotations

from abi.dispatch import Abi
from abi.errors import linux_number

linux = Abi("linux", linux_number, 512)
