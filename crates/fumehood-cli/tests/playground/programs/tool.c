/* Does what its first argument says; the programs of the tests. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void fill(int fd, long size) {
    static char page[1 << 16];
    memset(page, 'x', sizeof page);
    while (size > 0) {
        long part = size < (long)sizeof page ? size : (long)sizeof page;
        long done = write(fd, page, part);
        if (done < 0) exit(9);
        size -= done;
    }
}

static void say(int fd, const char *text) {
    if (write(fd, text, strlen(text)) < 0) exit(9);
}

static int is(const char *argument, const char *name) { return strcmp(argument, name) == 0; }

int main(int count, char **arguments) {
    const char *what = count > 1 ? arguments[1] : "nothing";
    const char *with = count > 2 ? arguments[2] : "0";
    if (is(what, "nothing")) return 0;
    if (is(what, "say")) return say(1, with), 0;
    if (is(what, "say-err")) return say(2, with), 0;
    if (is(what, "say-slowly")) {
        for (; *with; with++)
            if (write(1, with, 1) < 0 || write(2, with, 1) < 0) return 9;
        return 0;
    }
    if (is(what, "arguments")) {
        for (int n = 0; n < count; n++) printf("[%s]", arguments[n]);
        return 0;
    }
    if (is(what, "fill")) return fill(1, atol(with)), 0;
    if (is(what, "fill-err")) return fill(2, atol(with)), 0;
    if (is(what, "exit")) return atoi(with);
    if (is(what, "signal")) return raise(atoi(with)), 0;
    if (is(what, "sleep")) {
        say(1, "before");
        pause();
    }
    if (is(what, "sleep-on")) {
        signal(SIGINT, SIG_IGN);
        say(1, "before");
        for (;;) pause();
    }
    if (is(what, "memory"))
        for (;;) {
            char *more = malloc(1 << 20);
            if (more) memset(more, 1, 1 << 20);
        }
    return 8;
}
