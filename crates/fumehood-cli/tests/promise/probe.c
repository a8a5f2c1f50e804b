// Makes system calls that no shell can make and prints what each came to:
// `NAME done`, `NAME errno N` or `NAME signal N`, one a line.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

// Numbers that older headers lack; they are the same on every architecture.
enum {
	NR_pidfd_getfd = 438, NR_open_tree = 428, NR_move_mount = 429, NR_fsopen = 430,
	NR_fsconfig = 431, NR_fsmount = 432, NR_fspick = 433, NR_clone3 = 435,
	NR_mount_setattr = 442, NR_io_uring_setup = 425, NR_io_uring_enter = 426,
	NR_io_uring_register = 427, NR_landlock_restrict_self = 446, NR_unknown = 3000,
};

// Every call is made in a child of its own: some of them change or kill the caller.
// A static buffer would be flushed twice: the output is written after the child has ended.
#define TRY(name, call) do { \
	pid_t child_ = fork(); \
	if (child_ == 0) { \
		signal(SIGSEGV, SIG_DFL); \
		errno = 0; \
		long result_ = (call); \
		_exit(result_ == -1 ? errno : 0); \
	} \
	verdict(name, child_); \
} while (0)

static void verdict(const char *name, pid_t child)
{
	int status = 0;
	if (child < 0) { perror("fork"); exit(2); }
	while (waitpid(child, &status, 0) < 0 && errno == EINTR) {}
	if (WIFSIGNALED(status)) printf("%s signal %d\n", name, WTERMSIG(status));
	else if (WEXITSTATUS(status)) printf("%s errno %d\n", name, WEXITSTATUS(status));
	else printf("%s done\n", name);
	fflush(stdout);
}

// A clone whose child ends at once.
static long clone_with(unsigned long flags)
{
	long pid = syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);
	if (pid == 0) _exit(0);
	return pid;
}

static long clone3_plain(void)
{
	struct { uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, rest[6]; } args = {0};
	args.exit_signal = SIGCHLD;
	long pid = syscall(NR_clone3, &args, sizeof args);
	if (pid == 0) _exit(0);
	return pid;
}

struct flag { const char *name; unsigned long bit; };
static const struct flag NAMESPACES[] = {
	{"user", CLONE_NEWUSER},
	{"mount", CLONE_NEWUSER | CLONE_NEWNS}, {"pid", CLONE_NEWUSER | CLONE_NEWPID},
	{"net", CLONE_NEWUSER | CLONE_NEWNET}, {"ipc", CLONE_NEWUSER | CLONE_NEWIPC},
	{"uts", CLONE_NEWUSER | CLONE_NEWUTS}, {"cgroup", CLONE_NEWUSER | 0x02000000},
	{"mount-alone", CLONE_NEWNS}, {"pid-alone", CLONE_NEWPID}, {"net-alone", CLONE_NEWNET},
	{"ipc-alone", CLONE_NEWIPC}, {"uts-alone", CLONE_NEWUTS}, {"cgroup-alone", 0x02000000},
};

static void namespaces(void)
{
	char name[64];
	for (size_t i = 0; i < sizeof NAMESPACES / sizeof *NAMESPACES; i++) {
		snprintf(name, sizeof name, "unshare-%s", NAMESPACES[i].name);
		TRY(name, syscall(SYS_unshare, NAMESPACES[i].bit));
		snprintf(name, sizeof name, "clone-%s", NAMESPACES[i].name);
		TRY(name, clone_with(NAMESPACES[i].bit));
	}
	TRY("unshare-time", syscall(SYS_unshare, CLONE_NEWUSER | 0x80UL));
	TRY("setns", syscall(SYS_setns, -1, 0));
	TRY("clone3", clone3_plain());
	// With bits above the 32nd, which the kernel ignores and a careless filter compares.
	TRY("clone-user-high", clone_with(CLONE_NEWUSER | 0x7f00000000000000UL));
	TRY("unshare-user-high", syscall(SYS_unshare, CLONE_NEWUSER | 0x100000000UL));
}

// Arguments are chosen so that the kernel alone would answer something else than EPERM.
static void mounts(void)
{
	const char *nowhere = "/nonexistent";
	TRY("mount", syscall(SYS_mount, "none", nowhere, "tmpfs", 0, 0));
	TRY("umount2", syscall(SYS_umount2, nowhere, 0));
	TRY("pivot_root", syscall(SYS_pivot_root, nowhere, nowhere));
	TRY("chroot", syscall(SYS_chroot, nowhere));
	TRY("open_tree", syscall(NR_open_tree, -1, nowhere, 1));
	TRY("move_mount", syscall(NR_move_mount, -1, nowhere, -1, nowhere, 0));
	TRY("fsopen", syscall(NR_fsopen, "nonexistent", 0));
	TRY("fsconfig", syscall(NR_fsconfig, -1, 0, 0, 0, 0));
	TRY("fsmount", syscall(NR_fsmount, -1, 0, 0));
	TRY("fspick", syscall(NR_fspick, -1, nowhere, 0));
	TRY("mount_setattr", syscall(NR_mount_setattr, -1, nowhere, 0, 0, 0));
}

static void kernel(void)
{
	TRY("keyctl", syscall(SYS_keyctl, 0, -3, 1));
	TRY("add_key", syscall(SYS_add_key, "user", "x", "x", 1, -3));
	TRY("request_key", syscall(SYS_request_key, "user", "x", 0, 0));
	TRY("bpf", syscall(SYS_bpf, 5, 0, 0));
	TRY("io_uring_setup", syscall(NR_io_uring_setup, 1, 0));
	TRY("io_uring_enter", syscall(NR_io_uring_enter, -1, 0, 0, 0, 0, 0));
	TRY("io_uring_register", syscall(NR_io_uring_register, -1, 0, 0, 0));
	TRY("perf_event_open", syscall(SYS_perf_event_open, 0, 0, -1, -1, 0));
	TRY("userfaultfd", syscall(SYS_userfaultfd, 1));
	TRY("kexec_load", syscall(SYS_kexec_load, 0, 0, 0, 0));
	TRY("init_module", syscall(SYS_init_module, 0, 0, 0));
	TRY("finit_module", syscall(SYS_finit_module, -1, 0, 0));
	TRY("delete_module", syscall(SYS_delete_module, 0, 0));
	TRY("reboot", syscall(SYS_reboot, 0, 0, 0, 0));
	TRY("swapon", syscall(SYS_swapon, 0, 0));
	TRY("acct", syscall(SYS_acct, "/nonexistent"));
	TRY("open_by_handle_at", syscall(SYS_open_by_handle_at, -1, 0, 0));
	TRY("syslog", syscall(SYS_syslog, 3, 0, 0));
	TRY("fanotify_init", syscall(SYS_fanotify_init, 0, 0));
	TRY("quotactl", syscall(SYS_quotactl, 0, 0, 0, 0));
	TRY("clock_settime", syscall(SYS_clock_settime, 0, 0));
	TRY("sethostname", syscall(SYS_sethostname, "x", 1));
#ifdef SYS_iopl
	TRY("iopl", syscall(SYS_iopl, 3));
	TRY("ioperm", syscall(SYS_ioperm, 0, 1, 1));
	TRY("modify_ldt", syscall(SYS_modify_ldt, 0, 0, 0));
#endif
}

static void others(void)
{
	TRY("ptrace-attach-init", syscall(SYS_ptrace, PTRACE_ATTACH, 1, 0, 0));
	TRY("ptrace-seize-init", syscall(SYS_ptrace, PTRACE_SEIZE, 1, 0, 0));
	TRY("process_vm_readv-init", syscall(SYS_process_vm_readv, 1, 0, 0, 0, 0, 1));
	TRY("process_vm_writev-init", syscall(SYS_process_vm_writev, 1, 0, 0, 0, 0, 1));
	TRY("open-mem-init", open("/proc/1/mem", O_RDWR));
	TRY("open-root-init", open("/proc/1/root/etc", O_RDONLY));
	TRY("open-environ-init", open("/proc/1/environ", O_RDONLY));
	TRY("open-fd-init", open("/proc/1/fd", O_RDONLY | O_DIRECTORY));
	TRY("kill-init", kill(1, SIGKILL));
	TRY("kcmp-init", syscall(SYS_kcmp, 1, getpid(), 0, 0, 0));
}

// What the kernel lets a process do to another of its user.
static void watcher(void)
{
	struct rlimit none = {0, 0};
	struct sched_param ordinary = {0};
	cpu_set_t first;
	CPU_ZERO(&first);
	CPU_SET(0, &first);
	unsigned int attr[14] = {sizeof attr, SCHED_IDLE};
	const int idle_io = 3 << 13;
	TRY("prlimit-init", prlimit(1, RLIMIT_NPROC, &none, NULL));
	TRY("sched_setscheduler-init", sched_setscheduler(1, SCHED_IDLE, &ordinary));
	TRY("sched_setparam-init", sched_setparam(1, &ordinary));
	TRY("sched_setattr-init", syscall(SYS_sched_setattr, 1, attr, 0));
	TRY("sched_setaffinity-init", sched_setaffinity(1, sizeof first, &first));
	TRY("setpriority-init", setpriority(PRIO_PROCESS, 1, 19));
	TRY("setpriority-user", setpriority(PRIO_USER, getuid(), 19));
	TRY("ioprio_set-init", syscall(SYS_ioprio_set, 1, 1, idle_io));
	TRY("ioprio_set-user", syscall(SYS_ioprio_set, 3, getuid(), idle_io));
}

static void device(void)
{
	TRY("mknod-null", mknod("/tmp/null", S_IFCHR | 0666, makedev(1, 3)));
	TRY("mknod-disk", mknod("/tmp/disk", S_IFBLK | 0666, makedev(8, 0)));
}

// On whatever the standard input is: the kernel alone would say ENOTTY for a file.
static void terminal(void)
{
	TRY("tiocsti", syscall(SYS_ioctl, 0, (unsigned long)TIOCSTI, "x"));
	TRY("tiocsti-high", syscall(SYS_ioctl, 0, TIOCSTI | 0x100000000UL, "x"));
	TRY("tiocsti-higher", syscall(SYS_ioctl, 0, TIOCSTI | 0xdead000000000000UL, "x"));
	TRY("tioclinux", syscall(SYS_ioctl, 0, (unsigned long)TIOCLINUX, "\3"));
	TRY("tioclinux-high", syscall(SYS_ioctl, 0, TIOCLINUX | 0x100000000UL, "\3"));
}

static void foreign(void)
{
#if defined(__x86_64__)
	// getpid is 20 in the table of i386, and 39 with bit 30 set in that of x32.
	TRY("int80", ({
		long result = 20;
		__asm__ volatile("int $0x80" : "+a"(result) : : "memory", "r8", "r9", "r10", "r11");
		if (result < 0) { errno = (int)-result; result = -1; }
		result;
	}));
	TRY("x32", syscall(0x40000000 | 39));
	TRY("x32-mount", syscall(0x40000000 | SYS_mount, 0, 0, 0, 0, 0));
#endif
	TRY("unknown", syscall(NR_unknown));
	TRY("unknown-negative", syscall(-1L));
}

struct family { const char *name; int family, type, protocol; };
static const struct family FAMILIES[] = {
	{"unix", AF_UNIX, SOCK_STREAM, 0}, {"inet", AF_INET, SOCK_STREAM, 0},
	{"inet-udp", AF_INET, SOCK_DGRAM, 0}, {"inet6", AF_INET6, SOCK_STREAM, 0},
	{"inet-raw", AF_INET, SOCK_RAW, 1}, {"packet", AF_PACKET, SOCK_RAW, 0},
	{"alg", 38, SOCK_SEQPACKET, 0}, {"vsock", 40, SOCK_STREAM, 0},
	{"bluetooth", 31, SOCK_RAW, 1}, {"can", 29, SOCK_RAW, 1}, {"tipc", 30, SOCK_STREAM, 0},
	{"xdp", 44, SOCK_RAW, 0}, {"key", 15, SOCK_RAW, 2}, {"rds", 21, SOCK_SEQPACKET, 0},
	{"ax25", 3, SOCK_SEQPACKET, 0}, {"smc", 43, SOCK_STREAM, 0}, {"nfc", 39, SOCK_RAW, 0},
	{"netlink-netfilter", AF_NETLINK, SOCK_RAW, 12}, {"netlink-audit", AF_NETLINK, SOCK_RAW, 9},
	{"netlink-uevent", AF_NETLINK, SOCK_RAW, 15}, {"netlink-xfrm", AF_NETLINK, SOCK_RAW, 6},
	{"netlink-generic", AF_NETLINK, SOCK_RAW, 16},
};

static void sockets(void)
{
	for (size_t i = 0; i < sizeof FAMILIES / sizeof *FAMILIES; i++) {
		const struct family *f = &FAMILIES[i];
		TRY(f->name, socket(f->family, f->type, f->protocol));
	}
	TRY("vsock-high", syscall(SYS_socket, 40 | 0x100000000UL, SOCK_STREAM, 0));
}

// The numbers of the open file descriptors, without opening one.
static void descriptors(void)
{
	for (int fd = 0; fd < 65536; fd++)
		if (fcntl(fd, F_GETFD) >= 0) printf("%d\n", fd);
}

static int connect_to(int family, const void *address, socklen_t length)
{
	int fd = socket(family, SOCK_STREAM, 0);
	return fd < 0 ? -1 : connect(fd, address, length);
}

static int connect_tcp(int port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return connect_to(AF_INET, &address, sizeof address);
}

static int connect_unix(const char *path, int abstract)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	strncpy(address.sun_path + abstract, path, sizeof address.sun_path - 2);
	size_t length = offsetof(struct sockaddr_un, sun_path) + (size_t)abstract + strlen(path);
	return connect_to(AF_UNIX, &address, (socklen_t)length);
}

static int send_out(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(53)};
	inet_pton(AF_INET, "192.0.2.1", &address.sin_addr);
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	return (int)sendto(fd, "x", 1, 0, (struct sockaddr *)&address, sizeof address);
}

// A server and a client on a loopback address: 0 if a byte went through.
static int loopback(int family)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	struct sockaddr *address = family == AF_INET ? (void *)&v4 : (void *)&v6;
	socklen_t length = family == AF_INET ? sizeof v4 : sizeof v6;
	int server = socket(family, SOCK_STREAM, 0), client = socket(family, SOCK_STREAM, 0);
	char byte = 0;
	if (bind(server, address, length) || listen(server, 1)) return -1;
	if (getsockname(server, address, &length) || connect(client, address, length)) return -1;
	int peer = accept(server, 0, 0);
	if (write(client, "y", 1) != 1 || read(peer, &byte, 1) != 1) return -1;
	return byte == 'y' ? 0 : -1;
}

static void network(const char *port, const char *abstract, const char *path)
{
	TRY("loopback", loopback(AF_INET));
	TRY("loopback6", loopback(AF_INET6));
	TRY("host-tcp", connect_tcp(atoi(port)));
	TRY("host-abstract", connect_unix(abstract, 1));
	TRY("host-path", connect_unix(path, 0));
	TRY("outside", send_out());
}

static pthread_barrier_t barrier;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static long total;

static void *wait_twice(void *unused)
{
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	return unused;
}

static void *count(void *unused)
{
	for (int i = 0; i < 10000; i++) {
		pthread_mutex_lock(&mutex);
		total++;
		pthread_mutex_unlock(&mutex);
	}
	return unused;
}

static void start(pthread_t *threads, int number, void *(*body)(void *))
{
	for (int i = 0; i < number; i++)
		if (pthread_create(&threads[i], 0, body, 0)) { perror("pthread_create"); exit(2); }
}

// Prints the status of every thread while several exist.
static void thread_status(void)
{
	pthread_t threads[4];
	pthread_barrier_init(&barrier, 0, 5);
	start(threads, 4, wait_twice);
	pthread_barrier_wait(&barrier);
	if (system("cat /proc/$PPID/task/*/status")) exit(2);
	pthread_barrier_wait(&barrier);
}

static void thread_count(void)
{
	pthread_t threads[16];
	start(threads, 16, count);
	for (int i = 0; i < 16; i++) pthread_join(threads[i], 0);
	printf("%ld\n", total);
}

// Code that is written at run time: returns 42.
static void just_in_time(void)
{
#if defined(__x86_64__)
	static const unsigned char code[] = {0xb8, 42, 0, 0, 0, 0xc3};
#else
	static const unsigned char code[] = {0x40, 0x05, 0x80, 0x52, 0xc0, 0x03, 0x5f, 0xd6};
#endif
	void *page = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED) { perror("mmap"); exit(2); }
	memcpy(page, code, sizeof code);
	if (mprotect(page, 4096, PROT_READ | PROT_EXEC)) { perror("mprotect"); exit(2); }
	__builtin___clear_cache((char *)page, (char *)page + sizeof code);
	printf("%d\n", ((int (*)(void))page)());
	if (mmap(0, 4096, 7, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED) {
		perror("mmap of a page that is writable and executable");
		exit(2);
	}
}

static void eat(long mebibytes)
{
	for (long i = 0; i < mebibytes; i++) {
		char *piece = mmap(0, 1 << 20, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
		if (piece == MAP_FAILED) { perror("mmap"); exit(2); }
		memset(piece, 1, 1 << 20);
	}
	printf("ate %ld\n", mebibytes);
}

// Prints how many children could be had at one time.
static void breed(long number)
{
	pid_t children[1024];
	long born = 0;
	for (; born < number && born < 1024; born++) {
		children[born] = fork();
		if (children[born] < 0) break;
		if (children[born] == 0) { pause(); _exit(0); }
	}
	for (long i = 0; i < born; i++) kill(children[i], SIGKILL);
	printf("bred %ld\n", born);
}

#define REFUSE(nr, error) \
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (nr), 0, 1), \
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (error))

// Executes a program under a filter like that of common container runtimes: no new namespaces,
// no mounts. Bits of the namespaces that clone can make: 0x7e020000.
static void contained(char **argv)
{
	static struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		REFUSE(SYS_unshare, EPERM), REFUSE(SYS_setns, EPERM), REFUSE(SYS_mount, EPERM),
		REFUSE(SYS_umount2, EPERM), REFUSE(SYS_pivot_root, EPERM), REFUSE(SYS_bpf, EPERM),
		REFUSE(NR_open_tree, EPERM), REFUSE(NR_move_mount, EPERM), REFUSE(NR_fsopen, EPERM),
		REFUSE(NR_fsconfig, EPERM), REFUSE(NR_fsmount, EPERM), REFUSE(NR_fspick, EPERM),
		REFUSE(NR_mount_setattr, EPERM), REFUSE(NR_clone3, ENOSYS),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args)),
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 0x7e020000, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = sizeof code / sizeof *code, .filter = code};
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) { perror("seccomp"); exit(2); }
	execvp(argv[0], argv);
	perror(argv[0]);
	exit(2);
}

// Executes a program that cannot put up a Landlock fence, and only notices when it tries.
static void unfenced(char **argv)
{
	static struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		REFUSE(NR_landlock_restrict_self, EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = sizeof code / sizeof *code, .filter = code};
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) { perror("seccomp"); exit(2); }
	execvp(argv[0], argv);
	perror(argv[0]);
	exit(2);
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	if (!strcmp(what, "namespaces")) namespaces();
	else if (!strcmp(what, "mounts")) mounts();
	else if (!strcmp(what, "kernel")) kernel();
	else if (!strcmp(what, "others")) others();
	else if (!strcmp(what, "watcher")) watcher();
	else if (!strcmp(what, "device")) device();
	else if (!strcmp(what, "terminal")) terminal();
	else if (!strcmp(what, "foreign")) foreign();
	else if (!strcmp(what, "sockets")) sockets();
	else if (!strcmp(what, "descriptors")) descriptors();
	else if (!strcmp(what, "network") && argc == 5) network(argv[2], argv[3], argv[4]);
	else if (!strcmp(what, "thread-status")) thread_status();
	else if (!strcmp(what, "thread-count")) thread_count();
	else if (!strcmp(what, "just-in-time")) just_in_time();
	else if (!strcmp(what, "eat") && argc == 3) eat(atol(argv[2]));
	else if (!strcmp(what, "breed") && argc == 3) breed(atol(argv[2]));
	else if (!strcmp(what, "contained") && argc > 2) contained(argv + 2);
	else if (!strcmp(what, "unfenced") && argc > 2) unfenced(argv + 2);
	else { fprintf(stderr, "probe: what is %s?\n", what); return 2; }
	return 0;
}
