#include <unistd.h>

int main(void) {
    usleep(200000);
    return write(1, "slept\n", 6) != 6;
}
