"""Which calls belong together: the sets that strace's ``-e trace=%CLASS`` knows, and one class for each call to paint it by.

The sets were found by watching strace 6.1 choose among all numbers; calls that it does not know yet are where its later
versions have them.
"""

from __future__ import annotations

from functools import cache


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


CLASSES: dict[str, frozenset[str]] = {
    "file": _names(
        "access acct chdir chmod chown chroot creat execve execveat faccessat faccessat2 fanotify_mark fchmodat fchmodat2 "
        "fchownat file_getattr file_setattr fsconfig fspick futimesat getcwd getxattr getxattrat inotify_add_watch lchown "
        "lgetxattr link linkat listxattr listxattrat llistxattr lremovexattr lsetxattr lstat mkdir mkdirat mknod mknodat "
        "mount mount_setattr move_mount name_to_handle_at newfstatat open open_tree open_tree_attr openat openat2 pivot_root "
        "quotactl readlink readlinkat removexattr removexattrat rename renameat renameat2 rmdir setxattr setxattrat stat "
        "statfs statx swapoff swapon symlink symlinkat truncate umount2 unlink unlinkat uselib utime utimensat utimes"
    ),
    "process": _names(
        "clone clone3 execve execveat exit exit_group fork kill pidfd_send_signal rt_sigqueueinfo rt_tgsigqueueinfo tgkill "
        "tkill vfork wait4 waitid"
    ),
    "network": _names(
        "accept accept4 bind connect getpeername getpmsg getsockname getsockopt listen putpmsg recvfrom recvmmsg recvmsg "
        "sendfile sendmmsg sendmsg sendto setsockopt shutdown socket socketpair"
    ),
    "signal": _names(
        "io_uring_enter kill pause pidfd_send_signal rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn "
        "rt_sigsuspend rt_sigtimedwait rt_tgsigqueueinfo sigaltstack signalfd signalfd4 tgkill tkill"
    ),
    "desc": _names(
        "bpf cachestat close copy_file_range creat dup dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_pwait "
        "epoll_pwait2 epoll_wait eventfd eventfd2 execveat faccessat faccessat2 fadvise64 fallocate fanotify_init "
        "fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchownat fcntl fdatasync fgetxattr file_getattr file_setattr "
        "finit_module flistxattr flock fremovexattr fsconfig fsetxattr fsmount fsopen fspick fstat fstatfs fsync ftruncate "
        "futimesat getdents getdents64 getxattrat inotify_add_watch inotify_init inotify_init1 inotify_rm_watch "
        "io_uring_enter io_uring_register io_uring_setup ioctl kexec_file_load landlock_add_rule landlock_create_ruleset "
        "landlock_restrict_self linkat listxattrat lseek memfd_create memfd_secret mkdirat mknodat mmap mount_setattr "
        "move_mount mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedsend name_to_handle_at newfstatat open "
        "open_by_handle_at open_tree open_tree_attr openat openat2 perf_event_open pidfd_getfd pidfd_open pidfd_send_signal "
        "pipe pipe2 poll ppoll pread64 preadv preadv2 process_madvise process_mrelease pselect6 pwrite64 pwritev pwritev2 "
        "quotactl_fd read readahead readlinkat readv removexattrat renameat renameat2 select sendfile setns setxattrat "
        "signalfd signalfd4 splice statx symlinkat sync_file_range syncfs tee timerfd_create timerfd_gettime timerfd_settime "
        "unlinkat userfaultfd utimensat vmsplice write writev"
    ),
    "memory": _names(
        "brk get_mempolicy io_destroy io_setup io_uring_register madvise map_shadow_stack mbind migrate_pages mincore mlock "
        "mlock2 mlockall mmap move_pages mprotect mremap mseal msync munlock munlockall munmap pkey_mprotect remap_file_pages "
        "set_mempolicy set_mempolicy_home_node shmat shmdt"
    ),
    "ipc": _names("msgctl msgget msgrcv msgsnd semctl semget semop semtimedop shmat shmctl shmdt shmget"),
    "stat": _names("stat"),
    "lstat": _names("lstat"),
    "fstat": _names("fstat newfstatat statx"),
    "%stat": _names("fstat lstat newfstatat stat statx"),
    "statfs": _names("statfs"),
    "fstatfs": _names("fstatfs"),
    "%statfs": _names("fstatfs statfs ustat"),
    "clock": _names("adjtimex clock_adjtime clock_getres clock_gettime clock_settime gettimeofday settimeofday time"),
    "creds": _names(
        "capget capset getegid geteuid getgid getgroups getresgid getresuid getuid prctl setfsgid setfsuid setgid setgroups "
        "setregid setresgid setresuid setreuid setuid"
    ),
    "pure": _names("getegid geteuid getgid getpgrp getpid getppid gettid getuid"),
}
"""Class -> its calls; a class with a ``%`` of its own is written ``%%stat``."""

SYNONYMS = {"net": "network"}

_PAINTED = {
    "process": CLASSES["process"] | CLASSES["creds"] | CLASSES["pure"] | _names(
        "arch_prctl getpgid getpriority getrlimit getrusage getsid kcmp personality prlimit64 process_vm_readv "
        "process_vm_writev ptrace rseq sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr "
        "sched_getparam sched_getscheduler sched_rr_get_interval sched_setaffinity sched_setattr sched_setparam "
        "sched_setscheduler sched_yield seccomp set_robust_list set_tid_address setns setpgid setpriority setrlimit setsid "
        "unshare"
    ),
    "network": CLASSES["network"] - {"sendfile"},
    "signal": CLASSES["signal"] - {"io_uring_enter", "signalfd", "signalfd4"},
    "memory": CLASSES["memory"] - _names("io_setup io_destroy io_uring_register shmat shmdt") | _names("pkey_alloc pkey_free"),
    "ipc": CLASSES["ipc"] | _names("futex futex_requeue futex_wait futex_waitv futex_wake get_robust_list mq_unlink"),
    "time": CLASSES["clock"] | _names(
        "alarm clock_nanosleep getitimer nanosleep setitimer timer_create timer_delete timer_getoverrun timer_gettime "
        "timer_settime times"
    ),
    "file": CLASSES["file"] | _names("listmount statmount sync umask ustat"),
    "desc": CLASSES["desc"] | _names("close_range io_cancel io_destroy io_getevents io_pgetevents io_setup io_submit"),
}  # fmt: skip


@cache
def class_of(name: str) -> str:
    """The one class a call is painted as: ``process``, ``network``, ``signal``, ``memory``, ``ipc``, ``time``, ``file``,
    ``desc`` (what is done with open descriptors), or ``other``."""
    return next((kind for kind, names in _PAINTED.items() if name in names), "other")
