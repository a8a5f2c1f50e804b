// Makes system calls that a filter kills for.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NEW_LISTENER = 8 };

static void must(int holds, const char *what)
{
	if (!holds) { perror(what); exit(2); }
}

static void survived(long result)
{
	printf("survived %ld errno %d\n", result, result < 0 ? errno : 0);
	fflush(stdout);
}

static void *call_it(void *number)
{
	survived(syscall((long)number));
	return 0;
}

// Its other thread would go on.
static void in_a_thread(long number)
{
	pthread_t thread;
	must(!pthread_create(&thread, 0, call_it, (void *)number), "pthread_create");
	pthread_join(thread, 0);
	puts("the other thread survived");
}

static void in_a_child(long number)
{
	if (fork() == 0) {
		survived(syscall(number));
		_exit(0);
	}
	wait(0);
	puts("the parent survived");
}

static void handler(int unused) { (void)unused; }

// A signal interrupts a call that waits for an answer, and takes the question back.
static void dodge(long number)
{
	struct sigaction action = {.sa_handler = handler};
	struct itimerval often = {{0, 20}, {0, 20}};
	must(!sigaction(SIGALRM, &action, 0), "sigaction");
	must(!setitimer(ITIMER_REAL, &often, 0), "setitimer");
	long result = 0;
	for (int i = 0; i < 100000; i++) result = syscall(number);
	survived(result);
}

static long filter(unsigned number, unsigned answer, unsigned flags)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, answer),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = sizeof code / sizeof *code, .filter = code};
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
}

// A filter of its own answers before the one around it can ask.
static void overrule(long number)
{
	must(!filter(number, SECCOMP_RET_ERRNO | 7, 0), "seccomp");
	survived(syscall(number));
}

// Executes a program below a listener of ours.
static void under_a_listener(char **argv)
{
	int listener = filter(9999, SECCOMP_RET_ALLOW, NEW_LISTENER);
	must(listener >= 0, "seccomp");
	must(!fcntl(listener, F_SETFD, 0), "fcntl");
	execvp(argv[0], argv);
	must(0, argv[0]);
}

static void int80(void)
{
#if defined(__x86_64__)
	long result;
	__asm__ volatile("int $0x80" : "=a"(result) : "a"(20L) : "memory", "r8", "r9", "r10", "r11");
	printf("int80 %ld\n", result);
	printf("x32 %ld\n", (long)-(syscall(0x40000000 + SYS_getpid) < 0 ? errno : 0));
#endif
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	long number = argc > 2 ? atol(argv[2]) : -1;
	if (!strcmp(what, "call")) survived(syscall(number));
	else if (!strcmp(what, "thread")) in_a_thread(number);
	else if (!strcmp(what, "child")) in_a_child(number);
	else if (!strcmp(what, "dodge")) dodge(number);
	else if (!strcmp(what, "overrule")) overrule(number);
	else if (!strcmp(what, "listen") && argc > 2) under_a_listener(argv + 2);
	else if (!strcmp(what, "int80")) int80();
	else { fprintf(stderr, "denied: what is %s?\n", what); return 2; }
	return 0;
}
