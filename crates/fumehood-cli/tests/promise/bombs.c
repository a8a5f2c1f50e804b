// Uses up what a sandbox must limit, in every way that is known to hurt.
// Whatever stops an exhaustion short of a signal is printed as `NUMBER errno N`: how far it came
// and why it came no further.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MIB = 1 << 20, PAGE = 4096 };

static void must(int holds, const char *what)
{
	if (!holds) { perror(what); exit(2); }
}

// The exit status is 3: what ran into its limit is no success.
static void stopped_at(long number)
{
	printf("%ld errno %d\n", number, errno);
	exit(3);
}

static void touch(char *memory, long bytes)
{
	for (long i = 0; i < bytes; i += PAGE) memory[i] = 1;
}

static void eat(long mebibytes)
{
	char *memory = mmap(0, (size_t)mebibytes * MIB, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(memory != MAP_FAILED, "mmap");
	touch(memory, mebibytes * MIB);
}

// Pairs of sockets, both ends of which were sent what nobody takes.
static void sockets(long mebibytes)
{
	static char chunk[MIB / 4];
	struct sockaddr_in address = {.sin_family = AF_INET};
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	socklen_t length = sizeof address;
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	must(listener >= 0 && !bind(listener, (void *)&address, length), "bind");
	must(!listen(listener, 1) && !getsockname(listener, (void *)&address, &length), "listen");
	long sent = 0;
	for (int pair = 0; pair < 200 && sent < mebibytes * MIB; pair++) {
		int ends[2] = {socket(AF_INET, SOCK_STREAM, 0), -1};
		must(!connect(ends[0], (void *)&address, sizeof address), "connect");
		ends[1] = accept(listener, 0, 0);
		for (int i = 0; i < 2; i++)
			for (ssize_t n; (n = send(ends[i], chunk, sizeof chunk, MSG_DONTWAIT)) > 0;) sent += n;
	}
	printf("%ld\n", sent / MIB);
}

static void wait_for_all(void)
{
	int status, failed = 0;
	while (wait(&status) > 0) failed |= status;
	exit(failed != 0);
}

// Children that each take this much and keep it.
static void brood(long number, long mebibytes)
{
	for (long i = 0; i < number; i++) {
		pid_t child = fork();
		must(child >= 0, "fork");
		if (child == 0) { eat(mebibytes); for (;;) pause(); }
	}
	wait_for_all();
}

// Children that have taken this much at the same time, and end then.
static void family(long number, long mebibytes)
{
	int fed[2];
	char byte = 0;
	must(!pipe(fed), "pipe");
	for (long i = 0; i < number; i++) {
		pid_t child = fork();
		must(child >= 0, "fork");
		if (child == 0) {
			signal(SIGTERM, SIG_DFL);
			eat(mebibytes);
			must(write(fed[1], &byte, 1) == 1, "write");
			for (;;) pause();
		}
	}
	for (long i = 0; i < number; i++) must(read(fed[0], &byte, 1) == 1, "read");
	signal(SIGTERM, SIG_IGN);
	kill(0, SIGTERM);
	while (wait(0) > 0) {}
}

static void map_file(const char *path, long mebibytes)
{
	int fd = open(path, O_RDWR | O_CREAT, 0600);
	must(fd >= 0 && !ftruncate(fd, mebibytes * MIB), path);
	char *memory = mmap(0, (size_t)mebibytes * MIB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	must(memory != MAP_FAILED, "mmap");
	touch(memory, mebibytes * MIB);
}

static void fill(const char *path, long mebibytes)
{
	static char chunk[MIB];
	int fd = open(path, O_WRONLY | O_CREAT, 0600);
	must(fd >= 0, path);
	memset(chunk, 1, sizeof chunk);
	for (long i = 0; i < mebibytes; i++)
		for (ssize_t done = 0; done < MIB;) {
			ssize_t written = write(fd, chunk, (size_t)(MIB - done));
			if (written < 0) stopped_at(i);
			done += written;
		}
}

static void sparse(const char *path, long mebibytes)
{
	int fd = open(path, O_WRONLY | O_CREAT, 0600);
	must(fd >= 0, path);
	if (ftruncate(fd, mebibytes * MIB)) stopped_at(0);
}

static void empty_files(const char *dir, long number)
{
	char path[256];
	for (long i = 0; i < number; i++) {
		snprintf(path, sizeof path, "%s/%ld", dir, i);
		int fd = open(path, O_WRONLY | O_CREAT, 0600);
		if (fd < 0) stopped_at(i);
		close(fd);
	}
}

static void descriptors(void)
{
	for (long i = 3;; i++)
		if (open("/dev/null", O_RDONLY) < 0) stopped_at(i);
}

// All of them fork, for ever.
static void fork_bomb(void)
{
	for (;;) fork();
}

static void zombies(void)
{
	for (long i = 0;; i++) {
		pid_t child = fork();
		if (child < 0) stopped_at(i);
		if (child == 0) _exit(0);
	}
}

static void *sleep_on(void *unused)
{
	for (;;) pause();
	return unused;
}

static void threads(void)
{
	pthread_attr_t small;
	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 64 << 10);
	for (long i = 0;; i++) {
		pthread_t thread;
		errno = pthread_create(&thread, &small, sleep_on, 0);
		if (errno) stopped_at(i);
	}
}

static void burn(long milliseconds)
{
	struct timespec used;
	do {
		clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
	} while (used.tv_sec * 1000 + used.tv_nsec / 1000000 < milliseconds);
}

// Children that each use so much CPU time.
static void spin(long number, long milliseconds)
{
	for (long i = 0; i < number; i++) {
		pid_t child = fork();
		must(child >= 0, "fork");
		if (child == 0) { burn(milliseconds); _exit(0); }
	}
	wait_for_all();
}

static void ignore_everything(void)
{
	for (int signal = 1; signal < NSIG; signal++) {
		struct sigaction ignore = {.sa_handler = SIG_IGN};
		sigaction(signal, &ignore, 0);
	}
}

// A family that ignores what can be ignored, in a session of its own.
static void stubborn(void)
{
	ignore_everything();
	if (fork() == 0) { setsid(); fork(); }
	puts("ready");
	fflush(stdout);
	for (;;) pause();
}

// Takes the processor of process 1, which has to end what it watches over: at once, or later.
static void starve(long number, long milliseconds)
{
	usleep(milliseconds * 1000);
	struct sched_param none = {0};
	cpu_set_t first;
	CPU_ZERO(&first);
	CPU_SET(0, &first);
	must(sched_setscheduler(1, SCHED_IDLE, &none) == 0, "sched_setscheduler");
	must(sched_setaffinity(1, sizeof first, &first) == 0, "sched_setaffinity");
	must(sched_setaffinity(0, sizeof first, &first) == 0, "sched_setaffinity");
	ignore_everything();
	for (long i = 0; i < number; i++) {
		if (fork() == 0) for (;;) ;
	}
	puts("ready");
	fflush(stdout);
	for (;;) ;
}

static void flood(int fd, long bytes)
{
	static char chunk[65536];
	memset(chunk, 'x', sizeof chunk);
	while (bytes > 0) {
		size_t length = bytes < (long)sizeof chunk ? (size_t)bytes : sizeof chunk;
		ssize_t written = write(fd, chunk, length);
		must(written > 0, "write");
		bytes -= written;
	}
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "", *path = argc > 2 ? argv[2] : "";
	long first = atol(path), second = argc > 3 ? atol(argv[3]) : 0;
	if (!strcmp(what, "eat")) eat(first);
	else if (!strcmp(what, "sockets")) sockets(first);
	else if (!strcmp(what, "brood")) brood(first, second);
	else if (!strcmp(what, "family")) family(first, second);
	else if (!strcmp(what, "map-file")) map_file(path, second);
	else if (!strcmp(what, "fill")) fill(path, second);
	else if (!strcmp(what, "sparse")) sparse(path, second);
	else if (!strcmp(what, "empty-files")) empty_files(path, second);
	else if (!strcmp(what, "descriptors")) descriptors();
	else if (!strcmp(what, "fork-bomb")) fork_bomb();
	else if (!strcmp(what, "zombies")) zombies();
	else if (!strcmp(what, "threads")) threads();
	else if (!strcmp(what, "burn")) burn(first);
	else if (!strcmp(what, "spin")) spin(first, second);
	else if (!strcmp(what, "stubborn")) stubborn();
	else if (!strcmp(what, "starve")) starve(first, second);
	else if (!strcmp(what, "flood")) flood((int)first, second);
	else { fprintf(stderr, "bombs: what is %s?\n", what); return 2; }
	return 0;
}
