"""Which system calls a container may make, where a task does not say otherwise.  Pure data and one function.

Everything that ordinary programs need is listed; what is not gets ENOSYS, so that programs take their other
way, as on an older kernel.  Calls that concern the whole machine – mounting, modules, clocks, other people's
processes and keys, new namespaces – are refused with EPERM, which says better what happened; a few of them
come back with the capability that guards them anyway.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

EPERM: Final = 1
ENOSYS: Final = 38

NEW_NAMESPACES: Final = 0x7E020000
"""CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET."""

AF_VSOCK: Final = 40
"""Sockets to the hypervisor: past every network namespace."""

ARCHITECTURES: Final[Mapping[str, tuple[str, ...]]] = {
    "amd64": ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"),
    "arm64": ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"),
    "ppc64le": ("SCMP_ARCH_PPC64LE",),
    "s390x": ("SCMP_ARCH_S390X", "SCMP_ARCH_S390"),
    "riscv64": ("SCMP_ARCH_RISCV64",),
}

FILES: Final = """
access chdir chmod chown chown32 close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2
fadvise64 fadvise64_64 fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64
fdatasync fgetxattr flistxattr flock fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate
ftruncate64 futimesat getcwd getdents getdents64 getxattr inotify_add_watch inotify_init inotify_init1 inotify_rm_watch
ioctl lchown lchown32 lgetxattr link linkat listxattr llistxattr _llseek lremovexattr lseek lsetxattr lstat lstat64
mkdir mkdirat mknod mknodat newfstatat open openat openat2 pipe pipe2 pread64 preadv preadv2 pwrite64 pwritev pwritev2
read readahead readdir readlink readlinkat readv removexattr rename renameat renameat2 rmdir sendfile sendfile64
setxattr splice stat stat64 statfs statfs64 statx symlink symlinkat sync sync_file_range sync_file_range2 syncfs tee
truncate truncate64 umask unlink unlinkat utime utimensat utimensat_time64 utimes vmsplice write writev
cachestat getxattrat listxattrat removexattrat setxattrat statmount listmount
"""

MEMORY: Final = """
brk madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock mlock2 mlockall mmap
mmap2 mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect process_mrelease
remap_file_pages
"""

PROCESSES: Final = """
arch_prctl alarm capget capset execve execveat exit exit_group fork futex futex_requeue futex_time64 futex_wait
futex_waitv futex_wake get_robust_list get_thread_area getcpu getegid getegid32 geteuid geteuid32 getgid getgid32
getgroups getgroups32 getpgid getpgrp getpid getppid getpriority getresgid getresgid32 getresuid getresuid32
getrlimit getrusage getsid gettid getuid getuid32 ioprio_get ioprio_set kill landlock_add_rule
landlock_create_ruleset landlock_restrict_self modify_ldt nanosleep pause pidfd_open pidfd_send_signal prctl
prlimit64 restart_syscall rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn
rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_getaffinity sched_getattr
sched_getparam sched_get_priority_max sched_get_priority_min sched_getscheduler sched_rr_get_interval
sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield seccomp
set_robust_list set_thread_area set_tid_address setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups
setgroups32 setpgid setpriority setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32
setrlimit setsid setuid setuid32 sgetmask sigaction sigaltstack signal signalfd signalfd4 sigpending sigprocmask
sigreturn sigsuspend ssetmask sysinfo tgkill times tkill ugetrlimit uname vfork wait4 waitid waitpid riscv_flush_icache
riscv_hwprobe
"""

COMMUNICATION: Final = """
accept accept4 bind connect epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait
epoll_wait_old eventfd eventfd2 getpeername getsockname getsockopt io_cancel io_destroy io_getevents io_pgetevents
io_pgetevents_time64 io_setup io_submit ipc listen mq_getsetattr mq_notify mq_open mq_timedreceive
mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink msgctl msgget msgrcv msgsnd _newselect poll ppoll
ppoll_time64 pselect6 pselect6_time64 recv recvfrom recvmmsg recvmmsg_time64 recvmsg select semctl semget semop
semtimedop semtimedop_time64 send sendmmsg sendmsg sendto setsockopt shmat shmctl shmdt shmget shutdown socketpair
"""

TIME: Final = """
clock_getres clock_getres_time64 clock_gettime clock_gettime64 clock_nanosleep clock_nanosleep_time64 getitimer
getrandom gettimeofday setitimer time timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64
timer_settime timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64
"""

TRACING: Final = "ptrace process_vm_readv process_vm_writev kcmp pidfd_getfd"
"""One's own processes only, since a container sees no others; kernels before 4.8 let a tracer out of here."""

ALLOWED: Final = tuple(sorted(set((FILES + MEMORY + PROCESSES + COMMUNICATION + TIME + TRACING).split())))

_MACHINE = """
acct add_key bpf chroot clock_adjtime clock_adjtime64 clock_settime clock_settime64 create_module
delete_module fanotify_init finit_module fsconfig fsmount fsopen fspick get_kernel_syms get_mempolicy
init_module ioperm iopl io_uring_enter io_uring_register io_uring_setup kexec_file_load kexec_load keyctl
lookup_dcookie lsm_get_self_attr lsm_set_self_attr mbind migrate_pages mount mount_setattr move_mount
move_pages name_to_handle_at nfsservctl open_by_handle_at open_tree perf_event_open pivot_root
process_madvise query_module quotactl quotactl_fd reboot request_key set_mempolicy
set_mempolicy_home_node setdomainname sethostname setns settimeofday stime swapoff swapon _sysctl sysfs
syslog umount umount2 unshare uselib userfaultfd ustat vhangup vm86 vm86old adjtimex
"""
REFUSED: Final = tuple(sorted(_MACHINE.split()))

WITH_CAPABILITY: Final[Mapping[str, tuple[str, ...]]] = {
    "CAP_SYS_ADMIN": (
        "bpf",
        "fanotify_init",
        "fsconfig",
        "fsmount",
        "fsopen",
        "fspick",
        "lookup_dcookie",
        "mount",
        "mount_setattr",
        "move_mount",
        "open_tree",
        "perf_event_open",
        "quotactl",
        "quotactl_fd",
        "setdomainname",
        "sethostname",
        "setns",
        "swapoff",
        "swapon",
        "umount",
        "umount2",
        "unshare",
    ),
    "CAP_SYS_BOOT": ("kexec_file_load", "kexec_load", "reboot"),
    "CAP_SYS_CHROOT": ("chroot",),
    "CAP_SYS_MODULE": ("delete_module", "finit_module", "init_module"),
    "CAP_SYS_NICE": ("get_mempolicy", "mbind", "migrate_pages", "move_pages", "process_madvise", "set_mempolicy"),
    "CAP_SYS_PACCT": ("acct",),
    "CAP_SYS_RAWIO": ("ioperm", "iopl"),
    "CAP_SYS_TIME": (
        "adjtimex",
        "clock_adjtime",
        "clock_adjtime64",
        "clock_settime",
        "clock_settime64",
        "settimeofday",
        "stime",
    ),
    "CAP_SYS_TTY_CONFIG": ("vhangup",),
    "CAP_SYSLOG": ("syslog",),
    "CAP_DAC_READ_SEARCH": ("name_to_handle_at", "open_by_handle_at"),
    "CAP_BPF": ("bpf",),
    "CAP_PERFMON": ("perf_event_open",),
}

PERSONALITIES: Final = (0x0, 0x8, 0x20000, 0x20008, 0x40000, 0xFFFFFFFF)
"""Linux, with 32 bits, with the old version numbers, without random addresses (debuggers), and the question which."""


def profile(architecture: str, capabilities: Collection[str]) -> dict[str, object]:
    """The default profile in the words of the runtime specification, for a set of capabilities."""
    granted = {call for capability in capabilities for call in WITH_CAPABILITY.get(capability, ())}
    rules: list[dict[str, object]] = [
        {"names": sorted({*ALLOWED, *granted}), "action": "SCMP_ACT_ALLOW"},
        {"names": [call for call in REFUSED if call not in granted], "action": "SCMP_ACT_ERRNO", "errnoRet": EPERM},
        {
            "names": ["socket"],
            "action": "SCMP_ACT_ALLOW",
            "args": [{"index": 0, "value": AF_VSOCK, "op": "SCMP_CMP_NE"}],
        },
        # The 32-bit way to all calls of sockets has its arguments in memory, where no filter looks.
        {"names": ["socketcall"], "action": "SCMP_ACT_ALLOW"},
    ]
    for value in PERSONALITIES:
        question = [{"index": 0, "value": value, "op": "SCMP_CMP_EQ"}]
        rules.append({"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": question})
    if "CAP_SYS_ADMIN" in capabilities:
        rules.append({"names": ["clone", "clone3"], "action": "SCMP_ACT_ALLOW"})
    else:
        # s390 has the flags in the second argument.
        position = 1 if architecture == "s390x" else 0
        rules.append(
            {
                "names": ["clone"],
                "action": "SCMP_ACT_ALLOW",
                "args": [
                    {"index": position, "value": NEW_NAMESPACES, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"},
                ],
            }
        )
        # Its flags lie in memory; told that it does not exist, C libraries use `clone`.
        rules.append({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS})
    result: dict[str, object] = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": ENOSYS,
        "syscalls": rules,
    }
    if architecture in ARCHITECTURES:
        result["architectures"] = list(ARCHITECTURES[architecture])
    return result
