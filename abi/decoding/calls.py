"""All signatures by the call's name.

A trace of a small program needs few of the area modules, and all of them take longer to import than it runs.  So the
table knows which area has which call, and imports that when the call is first met.  What no area describes is printed as
six numbers.
"""

from __future__ import annotations

from importlib import import_module

from abi.decoding.values import Signature, call, hexadecimal

#: The calls of each area module; a test holds this against the modules.
AREAS = {
    "files": (
        "_sysctl access acct cachestat chdir chmod chown chroot close close_range copy_file_range creat dup dup2 dup3 "
        "faccessat faccessat2 fadvise64 fallocate fanotify_init fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown "
        "fchownat fdatasync fgetxattr file_getattr file_setattr flistxattr flock fremovexattr fsconfig fsetxattr fsmount "
        "fsopen fspick fstat fstatfs fsync ftruncate futimesat getcwd getdents getdents64 getxattr getxattrat "
        "inotify_add_watch inotify_init inotify_init1 inotify_rm_watch lchown lgetxattr link linkat listmount listxattr "
        "listxattrat llistxattr lookup_dcookie lremovexattr lseek lsetxattr lstat memfd_create memfd_secret mkdir mkdirat "
        "mknod mknodat mount mount_setattr move_mount name_to_handle_at newfstatat open open_by_handle_at open_tree "
        "open_tree_attr openat openat2 pipe pipe2 pivot_root pread64 preadv preadv2 pwrite64 pwritev pwritev2 quotactl "
        "quotactl_fd read readahead readlink readlinkat readv removexattr removexattrat rename renameat renameat2 rmdir "
        "sendfile setxattr setxattrat splice stat statfs statmount statx swapoff swapon symlink symlinkat sync "
        "sync_file_range syncfs sysfs tee truncate umask umount2 unlink unlinkat uselib ustat utime utimensat utimes vmsplice "
        "write writev"
    ),
    "processes": (
        "clone clone3 execve execveat exit exit_group fork get_robust_list getpgid getpgrp getpid getppid getsid gettid kcmp "
        "membarrier pidfd_getfd pidfd_open restart_syscall rseq set_robust_list set_tid_address setns setpgid setsid unshare "
        "vfork wait4 waitid"
    ),
    "signals": (
        "alarm kill pause pidfd_send_signal rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn "
        "rt_sigsuspend rt_sigtimedwait rt_tgsigqueueinfo sigaltstack signalfd signalfd4 tgkill tkill"
    ),
    "scheduling": (
        "getcpu getpriority getrlimit getrusage ioprio_get ioprio_set prlimit64 sched_get_priority_max sched_get_priority_min "
        "sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval sched_setaffinity "
        "sched_setattr sched_setparam sched_setscheduler sched_yield setpriority setrlimit times"
    ),
    "security": (
        "add_key capget capset getegid geteuid getgid getgroups getrandom getresgid getresuid getuid keyctl landlock_add_rule "
        "landlock_create_ruleset landlock_restrict_self lsm_get_self_attr lsm_list_modules lsm_set_self_attr request_key "
        "seccomp setfsgid setfsuid setgid setgroups setregid setresgid setresuid setreuid setuid"
    ),
    "system": (
        "delete_module finit_module get_thread_area init_module ioperm iopl kexec_file_load kexec_load modify_ldt personality "
        "reboot set_thread_area setdomainname sethostname sysinfo syslog uname vhangup"
    ),
    "tracing": "process_madvise process_mrelease process_vm_readv process_vm_writev ptrace",
    "probes": "bpf perf_event_open",
    "memory": (
        "brk get_mempolicy madvise map_shadow_stack mbind migrate_pages mincore mlock mlock2 mlockall mmap move_pages "
        "mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect remap_file_pages "
        "set_mempolicy set_mempolicy_home_node userfaultfd"
    ),
    "ipc": (
        "mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedsend mq_unlink msgctl msgget msgrcv msgsnd semctl semget "
        "semop semtimedop shmat shmctl shmdt shmget"
    ),
    "clocks": (
        "adjtimex clock_adjtime clock_getres clock_gettime clock_nanosleep clock_settime getitimer gettimeofday nanosleep "
        "setitimer settimeofday time timer_create timer_delete timer_getoverrun timer_gettime timer_settime timerfd_create "
        "timerfd_gettime timerfd_settime"
    ),
    "waiting": (
        "epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait eventfd eventfd2 futex futex_requeue "
        "futex_wait futex_waitv futex_wake poll ppoll pselect6 select"
    ),
    "aio": "io_cancel io_destroy io_getevents io_pgetevents io_setup io_submit",
    "rings": "io_uring_enter io_uring_register io_uring_setup",
    "network": (
        "accept accept4 bind connect getpeername getsockname getsockopt listen recvfrom recvmmsg recvmsg sendmmsg sendmsg "
        "sendto setsockopt shutdown socket socketpair"
    ),
    "control": "fcntl ioctl prctl",
    "architecture": "arch_prctl",
    "gone": (
        "afs_syscall create_module epoll_ctl_old epoll_wait_old get_kernel_syms getpmsg nfsservctl putpmsg query_module "
        "security tuxcall vserver"
    ),
}

#: A call that nobody has described: six numbers in hex.
UNKNOWN = call(hexadecimal, hexadecimal, hexadecimal, hexadecimal, hexadecimal, hexadecimal)


class _Signatures(dict):
    """Name -> `Signature`, filled as calls are met."""

    def __missing__(self, name: str) -> Signature:
        area = _AREA_OF.get(name)
        if area is None:
            return UNKNOWN
        self.update(import_module(f"abi.decoding.{area}").CALLS)
        return self[name]


_AREA_OF = {name: area for area, names in AREAS.items() for name in names.split()}
SIGNATURES: dict[str, Signature] = _Signatures()
