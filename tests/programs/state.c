// Writes down what a program is given by whoever started it, a fact a line, by system calls alone (there may be no /proc).
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

extern char **environ;

static void hex(const char *what, const char *text) {
    printf("%s ", what);
    for (; *text; text++) printf("%02x", (unsigned char)*text);
    printf("\n");
}

int main(int argc, char **argv) {
    unsigned long mask = 0, pending = 0;
    syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &mask, 8);
    syscall(SYS_rt_sigpending, &pending, 8);
    printf("mask %016lx\npending %016lx\n", mask, pending);
    for (int signal = 1; signal < 65; signal++) {
        unsigned long action[4] = {0};
        if (syscall(SYS_rt_sigaction, signal, NULL, action, 8) == 0 && action[0] != 0) printf("ignored %d\n", signal);
    }
    for (int fd = 0; fd < 1024; fd++) {
        struct stat stat;
        if (fstat(fd, &stat) == 0)
            printf("fd %d mode %o flags %o fdflags %d\n", fd, stat.st_mode & S_IFMT, fcntl(fd, F_GETFL), fcntl(fd, F_GETFD));
    }
    printf("argc %d\n", argc);
    for (char **word = argv; *word; word++) hex("arg", *word);
    for (char **word = environ; *word; word++) hex("env", *word);
    char cwd[4096];
    printf("cwd %s\n", getcwd(cwd, sizeof cwd) ? cwd : strerror(errno));
    mode_t mask_of_files = umask(0);
    printf("umask %03o\n", mask_of_files);
    for (int limit = 0; limit < 16; limit++) {
        struct rlimit rlimit;
        getrlimit(limit, &rlimit);
        printf("limit %d %lx %lx\n", limit, (unsigned long)rlimit.rlim_cur, (unsigned long)rlimit.rlim_max);
    }
    int subreaper = 0;
    prctl(PR_GET_CHILD_SUBREAPER, &subreaper);
    printf("subreaper %d\ndumpable %d\nno_new_privs %d\nsecurebits %d\ntimer slack %d\nnice %d\n", subreaper, prctl(PR_GET_DUMPABLE),
        prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), prctl(PR_GET_SECUREBITS), prctl(PR_GET_TIMERSLACK), getpriority(PRIO_PROCESS, 0));
    printf("uid %d %d gid %d %d\n", getuid(), geteuid(), getgid(), getegid());
    // Who is who, which an init changes.
    printf("who pid %d ppid %d pgid %d sid %d tpgid %d\n", getpid(), getppid(), getpgrp(), getsid(0), tcgetpgrp(0));
    return 0;
}
