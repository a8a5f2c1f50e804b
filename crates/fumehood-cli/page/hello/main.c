#include <stdio.h>

int main(int argc, char **argv) {
    puts("Hello from C.");
    for (int n = 1; n < argc; n++)
        printf("Argument %d is %s.\n", n, argv[n]);
    fputs("This line went to standard error.\n", stderr);
    return 0;
}
