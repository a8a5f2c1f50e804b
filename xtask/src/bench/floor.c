/*
 * What the kernel asks for the confinement that Fumehood's own rows of the benchmark have, by hand: a
 * small process, the least calls, no supervisor, no report, nothing that is looked at twice.
 *
 *   floor run MODE ARGV...   one run, as a process of its own; ends as the program does
 *   floor serve cold         measures on request, like the benchmark `launch` of the library:
 *   floor serve template     a line in, its words divided by tabs, and a line out
 *
 * MODE is one of
 *   cold      a cell is built from nothing for the program
 *   template  a cell is cloned from a process that has the root already, and a network to lend
 *   warm      a cell is there, its init waits for a byte
 *
 * Requests are `cold`, or `template`, `warm` and `fill` of a template: `MICROSECONDS ok` or `failed`;
 * and of `cold` also `throughput LAUNCHERS MILLISECONDS MODE`: `RUNS FAILED MICROSECONDS`.
 *
 * What a cell has is in plan.h, which the benchmark writes from what `fumehood explain --json` and a
 * run say: the steps of the root, Landlock's rules, the filter's very bytes, limits, groups. It is
 * compiled in, so that nothing has to be read. See `Plan` in floor.rs.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* One thing in the new root. Paths are relative to it. */
struct step {
    enum { DIRECTORY, FILLED, LINK, BIND, READ_ONLY, DEVICE, HIDDEN, DEVPTS, TMPFS, PROC, MASK } kind;
    const char *path;
    const char *from; /* what is bound or linked to, or options of a file system */
    unsigned number;  /* permission bits, or the size of a file */
};
struct rule { const char *path; uint64_t rights; };
struct limit { int resource; uint64_t soft, hard; };
struct control_group { const char *parent; const char *file[3], *value[3]; };

#include "plan.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define STACK (64 << 10)

/* The same number on every architecture; older headers do not have them all. */
enum { CLONE3 = 435, CLOSE_RANGE = 436, MOUNT_SETATTR = 442, LANDLOCK = 444 };
enum { ATTR_RDONLY = 1, ATTR_NOSUID = 2, ATTR_NODEV = 4, ATTR_NOEXEC = 8, RECURSIVE = 0x8000 };

/* All securebits that can be, but for keeping capabilities, and each locked. */
enum { SECUREBITS = 0xef, NO_SETUID_FIXUP = 4 };

enum mode { COLD, TEMPLATE, WARM };

/* What a launcher holds of a cell: its init, and the ends of pipes. */
struct cell {
    enum mode mode;
    pid_t init;
    int go[2], in[2], out[2], err[2], told[2];
    int tasks[COUNT(GROUPS) + 1]; /* whoever writes to these is in the groups */
    unsigned number;
};

static int proc_dir;              /* the host's /proc */
static int group_dirs[COUNT(GROUPS) + 1];
static unsigned cells;            /* so many were built: names of groups */
static int in_template;
static char *const *program_argv; /* of the program */
static const struct cell *program_cell;
static char program_stack[STACK] __attribute__((aligned(16)));

static void die(const char *what)
{
    dprintf(2, "floor: %s: %s\n", what, strerror(errno));
    _exit(125);
}

#define MUST(call) ({ long result_ = (long)(call); if (result_ < 0) die(#call); result_; })

static void put(int dir, const char *path, const char *text)
{
    int file = openat(dir, path, O_WRONLY | O_CLOEXEC);
    if (file < 0 || write(file, text, strlen(text)) < 0)
        die(path);
    close(file);
}

static void attributes(const char *path, unsigned flags, uint64_t set)
{
    uint64_t attr[4] = {set};
    MUST(syscall(MOUNT_SETATTR, AT_FDCWD, path, flags, attr, sizeof attr));
}

/* ---- the root ------------------------------------------------------------------------------- */

static void filled(const char *path, unsigned size)
{
    static const char filler[4096];
    if (size == 0) {
        MUST(mknod(path, S_IFREG | 0644, 0));
        return;
    }
    int file = MUST(open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
    MUST(write(file, filler, size));
    close(file);
}

/* Watches of files are counted per user, the host's included, so they are limited below, too. */
static void fresh_proc(const char *path, const char *options)
{
    MUST(mount("none", path, "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, options));
    put(AT_FDCWD, "proc/sys/user/max_inotify_instances", "8");
    put(AT_FDCWD, "proc/sys/user/max_inotify_watches", "8192");
    attributes(path, 0, ATTR_RDONLY);
}

static void do_step(const struct step *step)
{
    const char *path = step->path, *from = step->from;
    switch (step->kind) {
    case DIRECTORY: MUST(mkdir(path, step->number)); break;
    case FILLED: filled(path, step->number); break;
    case LINK: MUST(symlink(from, path)); break;
    case BIND: MUST(mount(from, path, 0, MS_BIND | MS_REC, 0)); break;
    /* Nothing is made in the root after this. */
    case READ_ONLY: attributes(".", RECURSIVE, ATTR_RDONLY | ATTR_NOSUID | ATTR_NODEV); break;
    case DEVICE:
        MUST(mount(from, path, 0, MS_BIND, 0));
        attributes(path, 0, ATTR_NOSUID | ATTR_NOEXEC);
        break;
    case HIDDEN:
        MUST(mount(path, path, 0, MS_BIND, 0));
        attributes(path, 0, ATTR_RDONLY | ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC);
        break;
    case MASK: MUST(mount(from, path, 0, MS_BIND, 0)); break;
    case DEVPTS: MUST(mount("devpts", path, "devpts", MS_NOSUID | MS_NOEXEC, from)); break;
    case TMPFS: MUST(mount("tmpfs", path, "tmpfs", MS_NOSUID | MS_NODEV, from)); break;
    case PROC: fresh_proc(path, from); break;
    }
}

static void do_steps(const struct step *steps, size_t count)
{
    for (size_t i = 0; i < count; i++)
        do_step(&steps[i]);
}

/* An empty root, over a directory that none of the steps needs. */
static void new_root(void)
{
    MUST(mount("", "/", 0, MS_REC | MS_PRIVATE, 0));
    MUST(mount("none", "/sys", "tmpfs", MS_NOSUID | MS_NODEV, ROOT_OPTIONS));
    MUST(chdir("/sys"));
}

static void pivot(void)
{
    MUST(syscall(SYS_pivot_root, ".", "."));
    MUST(umount2(".", MNT_DETACH));
    MUST(chdir("/"));
}

static void loopback_up(void)
{
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    int any = MUST(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    MUST(ioctl(any, SIOCSIFFLAGS, &request));
    close(any);
}

/* ---- the fence ------------------------------------------------------------------------------ */

static int ruleset(void)
{
    uint64_t handled[3] = {LANDLOCK_FILES, 0, LANDLOCK_SCOPES};
    int rules = MUST(syscall(LANDLOCK, handled, LANDLOCK_SCOPES ? 24 : 8, 0));
    for (size_t i = 0; i < COUNT(RULES); i++) {
        int path = MUST(open(RULES[i].path, O_PATH | O_CLOEXEC));
        struct { uint64_t rights; int path; } __attribute__((packed)) rule = {RULES[i].rights, path};
        MUST(syscall(LANDLOCK + 1, rules, 1, &rule, 0));
        close(path);
    }
    return rules;
}

static void drop_capabilities(void)
{
    for (int i = 0; i <= LAST_CAPABILITY; i++)
        MUST(prctl(PR_CAPBSET_DROP, i));
    MUST(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0));
    MUST(prctl(PR_SET_SECUREBITS, SECUREBITS));
    uint32_t head[2] = {0x20080522, 0}, none[6] = {0};
    MUST(syscall(SYS_capset, head, none));
}

static void filter(void)
{
    struct { unsigned short len; const void *instructions; } program = {sizeof FILTER / 8, FILTER};
    MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    MUST(syscall(SYS_seccomp, 1, FILTER_FLAGS, &program));
}

/* That of core dumps, which the filter lets nobody set, is the init's, too; the others are the program's. */
static void limit(int core_dumps)
{
    for (size_t i = 0; i < COUNT(LIMITS); i++)
        if ((LIMITS[i].resource == RLIMIT_CORE) == core_dumps)
            MUST(syscall(SYS_prlimit64, 0, LIMITS[i].resource, &LIMITS[i].soft, 0));
}

/* ---- the init and its program --------------------------------------------------------------- */

static int rules;

static int program(void *unused)
{
    (void)unused;
    const struct cell *cell = program_cell;
    MUST(dup2(cell->in[0], 0));
    MUST(dup2(cell->out[1], 1));
    MUST(dup2(cell->err[1], 2));
    MUST(setsid());
    umask(022);
    MUST(chdir(DIRECTORY_OF_PROGRAM));
    limit(0);
    MUST(syscall(LANDLOCK + 2, rules, 0));
    MUST(syscall(CLOSE_RANGE, 3, ~0u, 0));
    execve(program_argv[0], program_argv, (char *const *)ENVIRONMENT);
    die(program_argv[0]);
    return 125;
}

/* Starts the program in the memory of its init, which sleeps until it is executed. */
static int status_of_program(const struct cell *cell)
{
    int status;
    program_cell = cell;
    pid_t pid =
        MUST(clone(program, program_stack + STACK, CLONE_VM | CLONE_VFORK | SIGCHLD, 0));
    /* So that whoever reads them hears of the program's end before the init's. */
    close(cell->in[0]), close(cell->out[1]), close(cell->err[1]);
    MUST(waitpid(pid, &status, 0));
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void await(int fd)
{
    char byte;
    if (read(fd, &byte, 1) != 1)
        _exit(125); /* the launcher is gone */
}

static void take_ids(void)
{
    if (!PRIVILEGED)
        return; /* the user's own id, which is another one here */
    MUST(setgroups(0, 0));
    MUST(setresgid(ID_INSIDE, ID_INSIDE, ID_INSIDE));
    MUST(setresuid(ID_INSIDE, ID_INSIDE, ID_INSIDE));
}

/* By the task itself: for any other the kernel holds up all forks, which takes milliseconds. */
static void join_groups(const struct cell *cell)
{
    if (COUNT(GROUPS) == 0)
        return;
    for (size_t i = 0; i < COUNT(GROUPS); i++)
        MUST(write(cell->tasks[i], "0", 1));
    MUST(unshare(CLONE_NEWCGROUP));
}

static void init(const struct cell *cell)
{
    await(cell->go[0]);
    MUST(prctl(PR_SET_DUMPABLE, 0));
    take_ids();
    MUST(prctl(PR_SET_PDEATHSIG, SIGKILL));
    umask(0);
    if (cell->mode != TEMPLATE)
        loopback_up();
    MUST(sethostname(HOSTNAME, strlen(HOSTNAME)));
    if (!in_template) {
        new_root();
        do_steps(ROOT, COUNT(ROOT));
    }
    do_steps(OWN, COUNT(OWN));
    if (!in_template)
        pivot();
    join_groups(cell);
    rules = ruleset();
    limit(1);
    drop_capabilities();
    filter();
    if (cell->mode == WARM)
        await(cell->go[0]);
    unsigned char status = status_of_program(cell);
    MUST(write(cell->told[1], &status, 1));
    _exit(status);
}

/* ---- the launcher --------------------------------------------------------------------------- */

static pid_t clone_with(uint64_t flags)
{
    uint64_t args[11] = {flags, [4] = SIGCHLD};
    return MUST(syscall(CLONE3, args, sizeof args));
}

static void map_ids(pid_t pid, const char *uids, const char *gids)
{
    char path[32];
    if (!PRIVILEGED && !in_template)
        snprintf(path, sizeof path, "%d/setgroups", pid), put(proc_dir, path, "deny");
    snprintf(path, sizeof path, "%d/uid_map", pid), put(proc_dir, path, uids);
    snprintf(path, sizeof path, "%d/gid_map", pid), put(proc_dir, path, gids);
}

static void group_name(char name[64], const struct cell *cell, const char *file)
{
    snprintf(name, 64, "floor-%d-%u%s%s", getpid(), cell->number, file ? "/" : "", file ? file : "");
}

static void make_groups(struct cell *cell)
{
    char name[64];
    for (size_t i = 0; i < COUNT(GROUPS); i++) {
        group_name(name, cell, 0);
        MUST(mkdirat(group_dirs[i], name, 0755));
        for (int j = 0; j < 3 && GROUPS[i].file[j]; j++) {
            group_name(name, cell, GROUPS[i].file[j]);
            put(group_dirs[i], name, GROUPS[i].value[j]);
        }
        group_name(name, cell, "tasks");
        cell->tasks[i] = MUST(openat(group_dirs[i], name, O_WRONLY | O_CLOEXEC));
    }
}

static void remove_groups(const struct cell *cell)
{
    char name[64];
    group_name(name, cell, 0);
    for (size_t i = 0; i < COUNT(GROUPS); i++)
        MUST(unlinkat(group_dirs[i], name, AT_REMOVEDIR));
}

static void tell(int fd)
{
    MUST(write(fd, "1", 1));
}

/* A cell whose init goes as far as it can without being told to start the program. */
static void build(struct cell *cell, enum mode mode)
{
    uint64_t spaces = CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC;
    spaces |= mode == TEMPLATE ? 0 : CLONE_NEWNET;
    /* The namespace's root is the group that its maker is in, so whoever has groups is later. */
    spaces |= COUNT(GROUPS) > 0 ? 0 : CLONE_NEWCGROUP;
    *cell = (struct cell){.mode = mode, .number = cells++};
    MUST(pipe2(cell->go, O_CLOEXEC));
    MUST(pipe2(cell->in, O_CLOEXEC));
    MUST(pipe2(cell->out, O_CLOEXEC));
    MUST(pipe2(cell->err, O_CLOEXEC));
    MUST(pipe2(cell->told, O_CLOEXEC));
    make_groups(cell);
    cell->init = clone_with(spaces);
    if (cell->init == 0)
        init(cell);
    close(cell->go[0]), close(cell->in[0]), close(cell->out[1]), close(cell->err[1]);
    close(cell->told[1]);
    map_ids(cell->init, in_template ? MAP_IN_TEMPLATE : MAP_UIDS,
            in_template ? MAP_IN_TEMPLATE : MAP_GIDS);
    for (size_t i = 0; i < COUNT(GROUPS); i++)
        close(cell->tasks[i]);
    tell(cell->go[1]);
}

static int pass_on;

/* Reads a stream to its end. */
static void drain(int from, int to)
{
    char data[4096];
    ssize_t count;
    while ((count = MUST(read(from, data, sizeof data))) > 0)
        if (pass_on)
            MUST(write(to, data, count));
    close(from);
}

/* The program's status, as soon as it is known; its init may still be there. */
static int await_program(struct cell *cell)
{
    unsigned char status;
    if (cell->mode == WARM)
        tell(cell->go[1]);
    close(cell->in[1]);
    drain(cell->out[0], 1);
    drain(cell->err[0], 2);
    return read(cell->told[0], &status, 1) == 1 ? status : 125;
}

/* Groups can be removed when nobody is in them. */
static void take_down(struct cell *cell)
{
    MUST(waitpid(cell->init, 0, 0));
    remove_groups(cell);
    close(cell->go[1]), close(cell->told[0]);
}

/* ---- the template --------------------------------------------------------------------------- */

/*
 * Goes on in a process that has the root, but for what every cell has of its own, and a network. The
 * caller waits for it and ends as it does.
 */
static void become_template(void)
{
    int go[2], status;
    MUST(pipe2(go, O_CLOEXEC));
    pid_t pid = clone_with(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET);
    if (pid > 0) {
        /* Root keeps its own id there, by which it makes groups. */
        map_ids(pid, PRIVILEGED ? "0 0 1\n" MAP_UIDS : MAP_UIDS,
                PRIVILEGED ? "0 0 1\n" MAP_GIDS : MAP_GIDS);
        tell(go[1]);
        MUST(waitpid(pid, &status, 0));
        _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 125);
    }
    await(go[0]);
    MUST(prctl(PR_SET_PDEATHSIG, SIGKILL));
    umask(0);
    loopback_up();
    if (PRIVILEGED) { /* the root is the sandbox's user's */
        MUST(prctl(PR_SET_SECUREBITS, NO_SETUID_FIXUP));
        setfsgid(ID_INSIDE), setfsuid(ID_INSIDE);
    }
    new_root();
    do_steps(ROOT, COUNT(ROOT));
    /* Without one in sight, cells may mount none of their own; each hides it by its own. */
    MUST(mount("/proc", "proc", 0, MS_BIND | MS_REC, 0));
    pivot();
    setfsgid(getegid()), setfsuid(geteuid());
    in_template = 1;
}

/* ---- requests ------------------------------------------------------------------------------- */

enum { PARKED = 32 };
static struct cell parked[PARKED];
static int parked_count;

static void fill(void)
{
    while (parked_count < PARKED)
        build(&parked[parked_count++], WARM);
    usleep(50000);
    printf("filled %d\n", parked_count);
}

static long micros(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000L + now.tv_nsec / 1000;
}

/*
 * A cell that was built or, if it is warm, parked. What it leaves is taken down after the clock, as
 * the library has it; but the groups of one that was built from nothing are gone when its run is over.
 */
static void timed(enum mode mode)
{
    struct cell cell;
    if (mode == WARM && parked_count == 0) {
        printf("error no cell was parked\n");
        return;
    }
    long start = micros();
    if (mode == WARM)
        cell = parked[--parked_count];
    else
        build(&cell, mode);
    int status = await_program(&cell), within = mode == COLD && COUNT(GROUPS) > 0;
    if (within)
        take_down(&cell);
    printf("%ld %s\n", micros() - start, status ? "failed" : "ok");
    fflush(stdout);
    if (!within)
        take_down(&cell);
}

/* One launcher of several: says that it is ready, and when it is told to, runs until the time is up. */
static void launch(enum mode mode, long time, int ready, int go, int result)
{
    long counts[2] = {0};
    if (mode == TEMPLATE)
        become_template();
    tell(ready);
    await(go);
    for (long end = micros() + time; micros() < end; counts[0]++) {
        struct cell cell;
        build(&cell, mode);
        counts[1] += await_program(&cell) != 0;
        take_down(&cell);
    }
    MUST(write(result, counts, sizeof counts));
    _exit(0);
}

static void throughput(enum mode mode, int launchers, long millis)
{
    int ready[2], go[2], result[2];
    long all[2] = {0}, counts[2];
    MUST(pipe2(ready, O_CLOEXEC));
    MUST(pipe2(go, O_CLOEXEC));
    MUST(pipe2(result, O_CLOEXEC));
    for (int i = 0; i < launchers; i++)
        if (MUST(fork()) == 0)
            launch(mode, millis * 1000, ready[1], go[0], result[1]);
    close(result[1]), close(ready[1]);
    for (int i = 0; i < launchers; i++)
        await(ready[0]);
    long start = micros();
    for (int i = 0; i < launchers; i++)
        tell(go[1]);
    for (int i = 0; i < launchers && read(result[0], counts, sizeof counts) == sizeof counts; i++)
        all[0] += counts[0], all[1] += counts[1];
    printf("%ld %ld %ld\n", all[0], all[1], micros() - start);
    close(ready[0]), close(go[0]), close(go[1]), close(result[0]);
    while (wait(0) > 0)
        ;
}

/* One run, as a process. Without groups there is nothing to wait for: the init ends with us. */
static int run(enum mode mode)
{
    struct cell cell;
    build(&cell, mode);
    int status = await_program(&cell);
    if (COUNT(GROUPS) > 0)
        take_down(&cell);
    return status;
}

static enum mode mode_named(const char *name)
{
    static const char *const names[] = {"cold", "template", "warm"};
    for (int i = 0; i < 3; i++)
        if (strcmp(name, names[i]) == 0)
            return i;
    errno = EINVAL;
    die(name);
    return COLD;
}

static void serve(void)
{
    char line[256], kind[16];
    int launchers;
    long millis;
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = 0;
        if (strcmp(line, "fill") == 0)
            fill();
        else if (strcmp(line, "warm") == 0)
            timed(WARM);
        else if (strcmp(line, in_template ? "template" : "cold") == 0)
            timed(in_template ? TEMPLATE : COLD);
        else if (sscanf(line, "throughput\t%d\t%ld\t%15s", &launchers, &millis, kind) == 3)
            throughput(mode_named(kind), launchers, millis);
        else
            printf("error no request %s\n", line);
        fflush(stdout);
    }
    while (parked_count > 0) {
        kill(parked[--parked_count].init, SIGKILL);
        take_down(&parked[parked_count]);
    }
}

/* Whoever started us may have some ignored, which an execution does not change. The C library keeps two
 * for itself. */
static void default_signals(void)
{
    static const char none[64];
    for (int signal = 1; signal <= 64; signal++)
        if (signal != SIGKILL && signal != SIGSTOP)
            MUST(syscall(SYS_rt_sigaction, signal, none, 0, 8));
}

int main(int argc, char **argv)
{
    static char *const payload[] = {PROGRAM, 0};
    if (argc < 3)
        return 2;
    enum mode mode = mode_named(argv[2]);
    default_signals();
    int serving = strcmp(argv[1], "serve") == 0;
    program_argv = argc > 3 ? argv + 3 : payload;
    pass_on = !serving;
    proc_dir = MUST(open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC));
    for (size_t i = 0; i < COUNT(GROUPS); i++)
        group_dirs[i] = MUST(open(GROUPS[i].parent, O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (mode != COLD)
        become_template();
    if (!serving)
        return run(mode);
    serve();
    return 0;
}
