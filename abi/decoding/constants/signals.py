"""The names behind signals: their numbers, why one was sent, and the words of its calls."""

from __future__ import annotations

#: Those below SIGRTMIN, which is the kernel's 32 and not what the C library leaves of them.
SIGNALS = {
    1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 4: "SIGILL", 5: "SIGTRAP", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE", 9: "SIGKILL",
    10: "SIGUSR1", 11: "SIGSEGV", 12: "SIGUSR2", 13: "SIGPIPE", 14: "SIGALRM", 15: "SIGTERM", 16: "SIGSTKFLT", 17: "SIGCHLD",
    18: "SIGCONT", 19: "SIGSTOP", 20: "SIGTSTP", 21: "SIGTTIN", 22: "SIGTTOU", 23: "SIGURG", 24: "SIGXCPU", 25: "SIGXFSZ",
    26: "SIGVTALRM", 27: "SIGPROF", 28: "SIGWINCH", 29: "SIGIO", 30: "SIGPWR", 31: "SIGSYS",
}  # fmt: skip

#: si_code, whatever the signal.
CODES = {
    0: "SI_USER", 128: "SI_KERNEL", -1: "SI_QUEUE", -2: "SI_TIMER", -3: "SI_MESGQ", -4: "SI_ASYNCIO", -5: "SI_SIGIO",
    -6: "SI_TKILL", -7: "SI_DETHREAD", -60: "SI_ASYNCNL",
}  # fmt: skip

#: si_code above 0, by the signal that it explains.
CODES_OF = {
    4: {
        1: "ILL_ILLOPC", 2: "ILL_ILLOPN", 3: "ILL_ILLADR", 4: "ILL_ILLTRP", 5: "ILL_PRVOPC", 6: "ILL_PRVREG", 7: "ILL_COPROC",
        8: "ILL_BADSTK", 9: "ILL_BADIADDR",
    },
    5: {
        1: "TRAP_BRKPT", 2: "TRAP_TRACE", 3: "TRAP_BRANCH", 4: "TRAP_HWBKPT", 5: "TRAP_UNK", 6: "TRAP_PERF",
    },
    7: {
        1: "BUS_ADRALN", 2: "BUS_ADRERR", 3: "BUS_OBJERR", 4: "BUS_MCEERR_AR", 5: "BUS_MCEERR_AO",
    },
    8: {
        1: "FPE_INTDIV", 2: "FPE_INTOVF", 3: "FPE_FLTDIV", 4: "FPE_FLTOVF", 5: "FPE_FLTUND", 6: "FPE_FLTRES", 7: "FPE_FLTINV",
        8: "FPE_FLTSUB", 14: "FPE_FLTUNK", 15: "FPE_CONDTRAP",
    },
    11: {
        1: "SEGV_MAPERR", 2: "SEGV_ACCERR", 3: "SEGV_BNDERR", 4: "SEGV_PKUERR", 5: "SEGV_ACCADI", 6: "SEGV_ADIDERR",
        7: "SEGV_ADIPERR", 8: "SEGV_MTEAERR", 9: "SEGV_MTESERR",
    },
    17: {
        1: "CLD_EXITED", 2: "CLD_KILLED", 3: "CLD_DUMPED", 4: "CLD_TRAPPED", 5: "CLD_STOPPED", 6: "CLD_CONTINUED",
    },
    29: {
        1: "POLL_IN", 2: "POLL_OUT", 3: "POLL_MSG", 4: "POLL_ERR", 5: "POLL_PRI", 6: "POLL_HUP",
    },
    31: {
        1: "SYS_SECCOMP", 2: "SYS_USER_DISPATCH",
    },
}  # fmt: skip

#: AUDIT_ARCH_* (linux/audit.h).
ARCHITECTURES = {0x40000003: "AUDIT_ARCH_I386", 0xc000003e: "AUDIT_ARCH_X86_64"}

#: The flags of sigaction(2).
ACTION_FLAGS = {
    0x4000000: "SA_RESTORER", 0x8000000: "SA_ONSTACK", 0x10000000: "SA_RESTART", 0x20000000: "SA_INTERRUPT",
    0x40000000: "SA_NODEFER", 0x80000000: "SA_RESETHAND", 0x4: "SA_SIGINFO", 0x1: "SA_NOCLDSTOP", 0x2: "SA_NOCLDWAIT",
}  # fmt: skip

SA_RESTORER = 0x04000000

HANDLERS = {0: "SIG_DFL", 1: "SIG_IGN", -1: "SIG_ERR"}

HOW = {0: "SIG_BLOCK", 1: "SIG_UNBLOCK", 2: "SIG_SETMASK"}

SIGNALFD = {0x80000: "SFD_CLOEXEC", 0x800: "SFD_NONBLOCK"}

STACK_FLAGS = {0x1: "SS_ONSTACK", 0x2: "SS_DISABLE", 0x80000000: "SS_AUTODISARM"}
