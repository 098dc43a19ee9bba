// Makes so many processes one after another whose parents are gone before them, says "made", and ends when told by a signal.
// Usage: orphans COUNT
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv) {
    int count = argc > 1 ? atoi(argv[1]) : 1;
    for (int i = 0; i < count; i++) {
        pid_t parent = fork();
        if (parent == 0) {
            if (fork() == 0) _exit(i % 256);
            _exit(0);
        }
        if (parent < 0 || waitpid(parent, NULL, 0) != parent) return 1;
    }
    printf("made %d\n", count);
    fflush(stdout);
    pause();
}
