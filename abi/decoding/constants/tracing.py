"""The names of looking into other programs: ptrace and what goes with it."""

from __future__ import annotations

PTRACE = {
    0x0: "PTRACE_TRACEME", 0x1: "PTRACE_PEEKTEXT", 0x2: "PTRACE_PEEKDATA", 0x3: "PTRACE_PEEKUSER", 0x4: "PTRACE_POKETEXT",
    0x5: "PTRACE_POKEDATA", 0x6: "PTRACE_POKEUSER", 0x7: "PTRACE_CONT", 0x8: "PTRACE_KILL", 0x9: "PTRACE_SINGLESTEP",
    0xc: "PTRACE_GETREGS", 0xd: "PTRACE_SETREGS", 0xe: "PTRACE_GETFPREGS", 0xf: "PTRACE_SETFPREGS", 0x10: "PTRACE_ATTACH",
    0x11: "PTRACE_DETACH", 0x12: "PTRACE_GETFPXREGS", 0x13: "PTRACE_SETFPXREGS", 0x15: "PTRACE_OLDSETOPTIONS",
    0x18: "PTRACE_SYSCALL", 0x19: "PTRACE_GET_THREAD_AREA", 0x1a: "PTRACE_SET_THREAD_AREA", 0x1e: "PTRACE_ARCH_PRCTL",
    0x1f: "PTRACE_SYSEMU", 0x20: "PTRACE_SYSEMU_SINGLESTEP", 0x21: "PTRACE_SINGLEBLOCK", 0x4200: "PTRACE_SETOPTIONS",
    0x4201: "PTRACE_GETEVENTMSG", 0x4202: "PTRACE_GETSIGINFO", 0x4203: "PTRACE_SETSIGINFO", 0x4204: "PTRACE_GETREGSET",
    0x4205: "PTRACE_SETREGSET", 0x4206: "PTRACE_SEIZE", 0x4207: "PTRACE_INTERRUPT", 0x4208: "PTRACE_LISTEN",
    0x4209: "PTRACE_PEEKSIGINFO", 0x420a: "PTRACE_GETSIGMASK", 0x420b: "PTRACE_SETSIGMASK", 0x420c: "PTRACE_SECCOMP_GET_FILTER",
    0x420d: "PTRACE_SECCOMP_GET_METADATA", 0x420e: "PTRACE_GET_SYSCALL_INFO", 0x420f: "PTRACE_GET_RSEQ_CONFIGURATION",
}  # fmt: skip

PTRACE_OPTIONS = {
    0x1: "PTRACE_O_TRACESYSGOOD", 0x2: "PTRACE_O_TRACEFORK", 0x4: "PTRACE_O_TRACEVFORK", 0x8: "PTRACE_O_TRACECLONE",
    0x10: "PTRACE_O_TRACEEXEC", 0x20: "PTRACE_O_TRACEVFORKDONE", 0x40: "PTRACE_O_TRACEEXIT", 0x80: "PTRACE_O_TRACESECCOMP",
    0x100000: "PTRACE_O_EXITKILL", 0x200000: "PTRACE_O_SUSPEND_SECCOMP",
}  # fmt: skip

PEEKSIGINFO = {1: "PTRACE_PEEKSIGINFO_SHARED"}

NOTES = {
    0x1: "NT_PRSTATUS", 0x2: "NT_FPREGSET", 0x3: "NT_PRPSINFO", 0x4: "NT_TASKSTRUCT", 0x6: "NT_AUXV", 0x200: "NT_386_TLS",
    0x201: "NT_386_IOPERM", 0x202: "NT_X86_XSTATE",
}  # fmt: skip

#: struct user_regs_struct, eight bytes each.
REGISTERS = (
    "r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx", "rsi", "rdi", "orig_rax", "rip",
    "cs", "eflags", "rsp", "ss", "fs_base", "gs_base", "ds", "es", "fs", "gs",
)  # fmt: skip

#: Where in struct user what begins (sys/user.h).
USER_OFFSETS = {
    0: "8*R15", 8: "8*R14", 16: "8*R13", 24: "8*R12", 32: "8*RBP", 40: "8*RBX", 48: "8*R11", 56: "8*R10", 64: "8*R9", 72: "8*R8",
    80: "8*RAX", 88: "8*RCX", 96: "8*RDX", 104: "8*RSI", 112: "8*RDI", 120: "8*ORIG_RAX", 128: "8*RIP", 136: "8*CS", 144: "8*EFL",
    152: "8*RSP", 160: "8*SS", 216: "offsetof(struct user, u_fpvalid)", 224: "offsetof(struct user, i387)",
    736: "offsetof(struct user, u_tsize)", 744: "offsetof(struct user, u_dsize)", 752: "offsetof(struct user, u_ssize)",
    760: "offsetof(struct user, start_code)", 768: "offsetof(struct user, start_stack)", 776: "offsetof(struct user, signal)",
    784: "offsetof(struct user, reserved)", 792: "offsetof(struct user, u_ar0)", 800: "offsetof(struct user, u_fpstate)",
    808: "offsetof(struct user, magic)", 816: "offsetof(struct user, u_comm)", 848: "offsetof(struct user, u_debugreg)",
    912: "sizeof(struct user)",
}  # fmt: skip
