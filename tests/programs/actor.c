// A process that does what its words say, and says on standard output what happens to it. Each line is written at once.
// It says that it is "ready" when it is and its children have said so, or have gone: everybody below has its handlers by then.
//
//   actor NAME [WORD...] [( NAME [WORD...] )...]
//
// Words:
//   on=SIG:say         say it
//   on=SIG:exit=CODE   say it and exit
//   on=SIG:finish=MS   say it, work for so long, say "done", exit 0
//   on=SIG:stop        say it and stop itself (SIGSTOP)
//   on=SIG:helper=MS   say it, run a helper that works for so long, say what became of it, exit 0
//   on=SIG:respawn=N   say it, leave a successor that does the same with N-1 (with 0 it ignores the signal), exit 0
//   ignore=SIG         ignore it
//   block=SIG          block it
//   quit=MS:CODE       exit by itself so long after it is ready
//   crash=SIG          end by this signal when ready
//   childless=CODE     exit when all children have gone
//   leave              exit 0 when ready, which hands the children up
//   session            lead a session of its own
//   daemon             have a parent that exits at once, which hands it up
//   user=ID            become this user, and the group of this number
//   stop               stop itself (SIGSTOP) when ready
//   leaderless         go on in a second thread while the first has ended: /proc shows a zombie
//   runaway            be a new process all the time: fork and leave, about every half millisecond, for at most ten minutes
//   close              close standard output when ready
//   eat=MB             use so much memory when ready
//   lock=FILE          take its lock (flock): here and now if it is free, or else wait for it when ready
//   mutex              take a mutex twice when ready, and so wait for ever
//   join               wait for a second thread when ready, which never ends
//   vfork=MS           wait for a child that takes so long, again and again when ready: in state D (vfork)
// Parentheses hold children, which are forked.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char name[64];
static struct { char act[16]; long arg; } reactions[65];
// Where the parent reads an end of file when this one, as the last of its children, is ready or has gone.
static int told = -1;

static const char *const names[] = {"0", "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS"};

static int signal_of(const char *text) {
    for (int i = 1; i < 32; i++)
        if (strcmp(names[i], text) == 0) return i;
    if (strncmp(text, "RTMIN+", 6) == 0) return SIGRTMIN + atoi(text + 6);
    return atoi(text);
}

static void say(const char *what, const char *detail, int number) {
    char line[256];
    int length = snprintf(line, sizeof line, number < 0 ? "%s %s%s\n" : "%s %s%s %d\n", name, what, detail, number);
    if (write(1, line, length) < 0) _exit(98);
}

static void work(long ms) {
    struct timespec left = {ms / 1000, ms % 1000 * 1000000};
    while (nanosleep(&left, &left) != 0 && errno == EINTR) {}
}

// What a parent has set up for itself is not its child's.
static void start_afresh(void) {
    for (int i = 1; i < 65; i++) (void)!sigaction(i, &(struct sigaction){.sa_handler = SIG_DFL}, NULL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static void react(int signal, siginfo_t *info, void *context) {
    (void)context;
    int before = errno;
    char got[64];
    if (signal < 32) snprintf(got, sizeof got, "got %s from", names[signal]);
    else snprintf(got, sizeof got, "got RTMIN+%d from", signal - SIGRTMIN);
    say(got, "", info->si_pid);
    const char *act = reactions[signal].act;
    long arg = reactions[signal].arg;
    if (strcmp(act, "exit") == 0) _exit(arg);
    if (strcmp(act, "stop") == 0) raise(SIGSTOP);
    if (strcmp(act, "finish") == 0) {
        work(arg);
        say("done", "", -1);
        _exit(0);
    }
    if (strcmp(act, "helper") == 0) {
        // Blocked while the helper gets its own name and default actions, so that it does not react in our place.
        sigset_t all, old;
        sigfillset(&all);
        sigprocmask(SIG_BLOCK, &all, &old);
        pid_t helper = fork();
        if (helper == 0) {
            start_afresh();
            strcat(name, "-helper");
            prctl(PR_SET_NAME, name);
            say("ready", "", -1);
            work(arg);
            say("done", "", -1);
            _exit(0);
        }
        sigprocmask(SIG_SETMASK, &old, NULL);
        int status = 0;
        while (waitpid(helper, &status, 0) < 0 && errno == EINTR) {}
        if (WIFSIGNALED(status)) say("lost its helper to", "", WTERMSIG(status));
        else say("done", "", -1);
        _exit(0);
    }
    if (strcmp(act, "respawn") == 0) {
        if (fork() != 0) _exit(0);
        reactions[signal].arg = arg - 1;
        if (arg <= 1) sigaction(signal, &(struct sigaction){.sa_handler = SIG_IGN}, NULL);
        say("is born again", "", -1);
    }
    errno = before;
}

static void *idle(void *nothing) {
    for (;;) pause();
    return nothing;
}

static void run_away(void) {
    time_t until = time(NULL) + 600;
    while (time(NULL) < until) {
        if (fork() != 0) _exit(0);
        nanosleep(&(struct timespec){0, 500000}, NULL);
    }
    _exit(0);
}

// A pipe whose writing end every child closes when it is ready. Where there are no descriptors for it, nobody is waited for.
static void expect_children(int up[2]) {
    if (up[0] >= 0 || pipe2(up, O_CLOEXEC) != 0) return;
    // Not in place of a standard descriptor that is closed.
    for (int i = 0; i < 2; i++) {
        int high = fcntl(up[i], F_DUPFD_CLOEXEC, 10);
        close(up[i]);
        up[i] = high;
    }
}

static void await_children(const int up[2]) {
    char nothing;
    if (up[1] >= 0) close(up[1]);
    while (up[0] >= 0 && read(up[0], &nothing, 1) < 0 && errno == EINTR) {}
    if (up[0] >= 0) close(up[0]);
}

// Plays the words up to the closing parenthesis or the end; does not return.
__attribute__((noreturn)) static void play(char **words, char **end) {
    snprintf(name, sizeof name, "%.40s", *words++);
    prctl(PR_SET_NAME, name);
    int stops = 0, leaves = 0, closes = 0, crash = 0, leaderless = 0, runaway = 0, mutex = 0, joins = 0;
    long vforks = -1;
    int lock = -1, waits = 0, up[2] = {-1, -1};
    long quit = -1, quit_code = 0, childless = -1, eats = 0;
    for (int i = 0; i < 65; i++) reactions[i].act[0] = 0;
    while (words < end) {
        char *word = *words++;
        if (strcmp(word, "(") == 0) {
            char **inner = words;
            for (int depth = 1; words < end && depth > 0; words++)
                depth += strcmp(*words, "(") == 0 ? 1 : strcmp(*words, ")") == 0 ? -1 : 0;
            expect_children(up);
            if (fork() == 0) {
                if (told >= 0) close(told);
                if (up[0] >= 0) close(up[0]);
                told = up[1];
                // What it inherits is the same lock, held for as long as anybody has it.
                if (lock >= 0) close(lock);
                start_afresh();
                play(inner, words - 1);
            }
        } else if (strncmp(word, "on=", 3) == 0) {
            char *colon = strchr(word, ':');
            *colon = 0;
            int signal = signal_of(word + 3);
            sscanf(colon + 1, "%15[a-z]=%ld", reactions[signal].act, &reactions[signal].arg);
            *colon = ':';
            sigaction(signal, &(struct sigaction){.sa_sigaction = react, .sa_flags = SA_SIGINFO | SA_RESTART}, NULL);
        } else if (strncmp(word, "ignore=", 7) == 0) {
            sigaction(signal_of(word + 7), &(struct sigaction){.sa_handler = SIG_IGN}, NULL);
        } else if (strncmp(word, "block=", 6) == 0) {
            sigset_t set;
            sigemptyset(&set);
            sigaddset(&set, signal_of(word + 6));
            sigprocmask(SIG_BLOCK, &set, NULL);
        } else if (strncmp(word, "quit=", 5) == 0) {
            sscanf(word + 5, "%ld:%ld", &quit, &quit_code);
        } else if (strncmp(word, "crash=", 6) == 0) {
            crash = signal_of(word + 6);
        } else if (strncmp(word, "childless=", 10) == 0) {
            childless = atol(word + 10);
        } else if (strncmp(word, "eat=", 4) == 0) {
            eats = atol(word + 4);
        } else if (strncmp(word, "lock=", 5) == 0) {
            lock = open(word + 5, O_RDONLY | O_CLOEXEC);
            if (lock < 0) _exit(95);
            waits = flock(lock, LOCK_EX | LOCK_NB) != 0;
        } else if (strncmp(word, "vfork=", 6) == 0) {
            vforks = atol(word + 6);
        } else if (strcmp(word, "mutex") == 0) {
            mutex = 1;
        } else if (strcmp(word, "join") == 0) {
            joins = 1;
        } else if (strcmp(word, "leave") == 0) {
            leaves = 1;
        } else if (strcmp(word, "session") == 0) {
            setsid();
        } else if (strcmp(word, "daemon") == 0) {
            pid_t parent = getpid();
            if (fork() != 0) _exit(0);
            while (getppid() == parent) work(1);
        } else if (strncmp(word, "user=", 5) == 0) {
            uid_t id = atol(word + 5);
            if (setgid(id) != 0 || setuid(id) != 0) _exit(94);
        } else if (strcmp(word, "stop") == 0) {
            stops = 1;
        } else if (strcmp(word, "leaderless") == 0) {
            leaderless = 1;
        } else if (strcmp(word, "runaway") == 0) {
            runaway = 1;
        } else if (strcmp(word, "close") == 0) {
            closes = 1;
        } else {
            fprintf(stderr, "actor: unknown word %s\n", word);
            _exit(97);
        }
    }
    await_children(up);
    say("ready", "", getpid());
    if (told >= 0) close(told);
    if (closes) close(1);
    for (; eats > 0; eats--) {
        char *megabyte = malloc(1 << 20);
        if (megabyte != NULL) memset(megabyte, 1, 1 << 20);
        // Seen by the compiler as used, or it would leave both out.
        __asm__ volatile("" : : "r"(megabyte) : "memory");
    }
    if (stops) raise(SIGSTOP);
    if (crash) raise(crash);
    if (leaves) _exit(0);
    if (runaway) run_away();
    if (leaderless) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, idle, NULL) != 0) _exit(96);
        pthread_exit(NULL);
    }
    if (waits && flock(lock, LOCK_EX) != 0) _exit(95);
    if (mutex) {
        pthread_mutex_t held = PTHREAD_MUTEX_INITIALIZER;
        pthread_mutex_lock(&held);
        pthread_mutex_lock(&held);
    }
    if (joins) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, idle, NULL) != 0 || pthread_join(thread, NULL) != 0) _exit(96);
    }
    if (vforks >= 0) signal(SIGCHLD, SIG_IGN);
    while (vforks >= 0)
        if (vfork() == 0) {
            work(vforks);
            _exit(0);
        }
    if (quit >= 0) {
        work(quit);
        _exit(quit_code);
    }
    while (childless >= 0)
        if (wait(NULL) < 0 && errno == ECHILD) _exit(childless);
    for (;;) pause();
}

int main(int argc, char **argv) {
    if (argc < 2) return 97;
    play(argv + 1, argv + argc);
}
