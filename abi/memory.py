"""Memory is the guest's own and the kernel's to manage: brk, the mmap family, locks, policies, keys."""

from __future__ import annotations

from abi.dispatch import Support
from abi.errors import Kind
from abi.linux import linux

for _number, _name in (
    (9, "mmap"), (10, "mprotect"), (11, "munmap"), (12, "brk"), (25, "mremap"), (26, "msync"), (27, "mincore"),
    (28, "madvise"), (149, "mlock"), (150, "munlock"), (151, "mlockall"), (152, "munlockall"),
    (216, "remap_file_pages"), (237, "mbind"), (238, "set_mempolicy"), (239, "get_mempolicy"),
    (319, "memfd_create"), (325, "mlock2"), (329, "pkey_mprotect"), (330, "pkey_alloc"), (331, "pkey_free"),
    (450, "set_mempolicy_home_node"), (453, "map_shadow_stack"), (462, "mseal"),
):  # fmt: skip
    linux.native(_number, _name)

linux.refuse(323, "userfaultfd", Kind.ENOSYS, "absent: it can hold a call of the supervisor's", Support.NONE)
linux.refuse(447, "memfd_secret", Kind.ENOSYS, "absent: the supervisor could not read a path in it", Support.NONE)
