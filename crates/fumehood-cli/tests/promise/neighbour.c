// What one cell can do to another, and what it can take of what all share.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/ptrace.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void must(int holds, const char *what)
{
	if (!holds) { perror(what); exit(2); }
}

static void came_to(const char *what, long result)
{
	if (result < 0) printf("%s errno %d\n", what, errno);
	else printf("%s done\n", what);
}

static socklen_t abstract(struct sockaddr_un *address, const char *name)
{
	memset(address, 0, sizeof *address);
	address->sun_family = AF_UNIX;
	strncpy(address->sun_path + 1, name, sizeof address->sun_path - 2);
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name));
}

static const char *const DIRS[] = {"/tmp", "/workspace", "/dev/shm"};

static const char *file_in(const char *dir, const char *name)
{
	static char path[256];
	snprintf(path, sizeof path, "%s/%s", dir, name);
	return path;
}

// By the names that both know.
static void reach(const char *name, key_t key)
{
	struct sockaddr_un address;
	socklen_t length = abstract(&address, name);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	must(fd >= 0, "socket");
	came_to("abstract-socket", connect(fd, (void *)&address, length));
	came_to("shared-memory", shmget(key, 1, 0));
	came_to("message-queue", msgget(key, 0));
	came_to("semaphores", semget(key, 1, 0));
	for (int i = 0; i < 3; i++) came_to(DIRS[i], open(file_in(DIRS[i], name), O_RDONLY));
}

// By the number that the other has on the host.
static void touch_process(pid_t pid)
{
	char path[64];
	came_to("kill", kill(pid, SIGKILL));
	came_to("kill-group", kill(-pid, SIGKILL));
	came_to("pidfd", syscall(SYS_pidfd_open, pid, 0));
	came_to("ptrace", ptrace(PTRACE_SEIZE, pid, 0, 0));
	snprintf(path, sizeof path, "/proc/%d/stat", pid);
	came_to("proc", open(path, O_RDONLY));
	came_to("priority", syscall(SYS_setpriority, 0, pid, 19));
	came_to("limits", syscall(SYS_prlimit64, pid, 7, 0, 0));
	came_to("add-key", syscall(SYS_add_key, "user", "fumehood", "x", 1, -4));
	came_to("request-key", syscall(SYS_request_key, "user", "fumehood", 0, 0));
	came_to("keyctl", syscall(SYS_keyctl, 0, -4, 0));
	// All that there is to signal here is nobody.
	came_to("kill-all", kill(-1, SIGKILL));
}

static void offer(const char *name, key_t key)
{
	struct sockaddr_un address;
	socklen_t length = abstract(&address, name);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	must(fd >= 0 && !bind(fd, (void *)&address, length) && !listen(fd, 5), "abstract socket");
	must(shmget(key, 4096, IPC_CREAT | 0666) >= 0, "shmget");
	must(msgget(key, IPC_CREAT | 0666) >= 0, "msgget");
	must(semget(key, 1, IPC_CREAT | 0666) >= 0, "semget");
	for (int i = 0; i < 3; i++) {
		int file = open(file_in(DIRS[i], name), O_CREAT | O_WRONLY, 0666);
		must(file >= 0, DIRS[i]);
	}
	// It can be reached from its own cell, or its absence elsewhere would say nothing.
	reach(name, key);
	puts("ready");
	fflush(stdout);
	char byte;
	while (read(0, &byte, 1) > 0) {}
	puts("alive");
}

static int listener(const char *path, int reaches)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	strncpy(address.sun_path, path, sizeof address.sun_path - 1);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	must(fd >= 0, "socket");
	if (reaches) return connect(fd, (void *)&address, sizeof address) ? -1 : fd;
	must(!bind(fd, (void *)&address, sizeof address), "bind");
	must(!listen(fd, 1) && !chmod(path, 0777), "listen");
	return accept(fd, 0, 0);
}

// A message of one byte with one descriptor.
static struct msghdr *letter(int **fd)
{
	static char byte = 'x', control[CMSG_SPACE(sizeof(int))];
	static struct iovec vector = {&byte, 1};
	static struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
	message.msg_control = control;
	message.msg_controllen = sizeof control;
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(int));
	*fd = (int *)CMSG_DATA(header);
	return &message;
}

// Hands a neighbour what is written about the end of this program, where there is such a file.
static int hand_over(const char *path)
{
	int *place, peer = listener(path, 1), file = open("/dev/.fumehood-end", O_RDWR);
	char byte;
	if (peer >= 0) {
		struct msghdr *message = letter(&place);
		*place = file < 0 ? STDOUT_FILENO : file;
		must(sendmsg(peer, message, 0) == 1, "sendmsg");
		while (read(peer, &byte, 1) < 0) {}
	}
	return 5;
}

// Writes that it ended with 77, where the status would be with a word before it and without.
static void forge(int file)
{
	char text[256];
	for (;;) {
		ssize_t length = pread(file, text, sizeof text, 0);
		char *end = length > 0 ? memchr(text, '\n', (size_t)length) : 0;
		if (!end) continue;
		*end = 0;
		char *space = strchr(text, ' ');
		long start = space - text == 32 ? 33 : 0;
		must(pwrite(file, "19712 0 0 0 0 0", 15, start) == 15, "pwrite");
		if (start) must(pwrite(file, "\n", 1, start + 15) == 1, "pwrite");
		return;
	}
}

static void receive(const char *path)
{
	int *place, peer = listener(path, 0);
	must(recvmsg(peer, letter(&place), 0) == 1, "recvmsg");
	int file = *place;
	struct stat status;
	must(!fstat(file, &status), "fstat");
	pid_t forger = S_ISREG(status.st_mode) ? fork() : 0;
	if (!forger && S_ISREG(status.st_mode)) { close(peer); forge(file); _exit(0); }
	close(peer);
	char byte;
	while (read(0, &byte, 1) > 0) {}
	if (forger > 0) kill(forger, SIGKILL);
	printf("%s\n", forger > 0 ? "forged" : "nothing to forge");
}

static void take(const char *what)
{
	int number = 0;
	timer_t timer;
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
	if (!strcmp(what, "inotify")) while (number < 5000 && inotify_init1(0) >= 0) number++;
	if (!strcmp(what, "terminals")) while (open("/dev/ptmx", O_RDWR | O_NOCTTY) >= 0) number++;
	if (!strcmp(what, "timers"))
		while (number < 5000 && !timer_create(CLOCK_MONOTONIC, &event, &timer)) number++;
	printf("%d errno %d\n", number, errno);
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	if (!strcmp(what, "offer") && argc > 3) offer(argv[2], atoi(argv[3]));
	else if (!strcmp(what, "reach") && argc > 3) reach(argv[2], atoi(argv[3]));
	else if (!strcmp(what, "touch") && argc > 2) touch_process(atoi(argv[2]));
	else if (!strcmp(what, "take") && argc > 2) take(argv[2]);
	else if (!strcmp(what, "hand-over") && argc > 2) return hand_over(argv[2]);
	else if (!strcmp(what, "receive") && argc > 2) receive(argv[2]);
	else { fprintf(stderr, "neighbour: what is %s?\n", what); return 2; }
	return 0;
}
