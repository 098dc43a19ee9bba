/* The processes of the benchmark: one program with a part for each figure, without a C library, so that what is measured is the init.
   File descriptor 3 is a page of memory that is shared with the benchmark (struct page; memory.rs has the same). */
#include <asm/unistd.h>

typedef unsigned long word;

struct page {
    word first;  /* when main's first instructions ran, ns of CLOCK_MONOTONIC */
    word last;   /* when the last process was about to end */
    int ready;   /* how many are ready for the signal */
    int ended;   /* how many have ended by themselves */
};
static volatile struct page *page;

#if defined(__x86_64__)
static word call(word n, word a, word b, word c, word d, word e, word f) {
    register word r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
    word result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
    return result;
}
__asm__(".globl _start\n_start: xor %ebp,%ebp\nmov %rsp,%rdi\nand $-16,%rsp\ncall start\nhlt\n.section .note.GNU-stack,\"\",@progbits\n.text\n");
#define SA_RESTORER 0x04000000
#elif defined(__aarch64__)
static word call(word n, word a, word b, word c, word d, word e, word f) {
    register word x8 __asm__("x8") = n, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c, x3 __asm__("x3") = d,
                  x4 __asm__("x4") = e, x5 __asm__("x5") = f;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
    return x0;
}
__asm__(".globl _start\n_start: mov x29,xzr\nmov x0,sp\nbl start\nbrk 1\n");
#define SA_RESTORER 0
#else
#error "x86_64 or aarch64"
#endif

enum { SIGTERM = 15, SIGCHLD = 17 };

static word now(void) {
    word time[2];
    call(__NR_clock_gettime, 1, (word)time, 0, 0, 0, 0);
    return time[0] * 1000000000 + time[1];
}

static void __attribute__((noreturn)) leave(int code) {
    for (;;) call(__NR_exit_group, code, 0, 0, 0, 0, 0);
}

static long fork(void) { return call(__NR_clone, SIGCHLD, 0, 0, 0, 0, 0); }

static void work(void) {
    word time[2] = {0, 10000000};
    call(__NR_nanosleep, (word)time, 0, 0, 0, 0, 0);
}

static void __attribute__((noreturn)) stay(void) {
    for (;;) call(__NR_ppoll, 0, 0, 0, 0, 0, 0);
}

static long wait_for(long pid) { return call(__NR_wait4, pid, 0, 0, 0, 0, 0); }

static void wait_for_all(void) {
    while (wait_for(-1) > 0) {}
}

/* No handler below returns, so nothing needs to be restored. */
static void on_term(void (*handler)(int)) {
    struct {
        void (*handler)(int);
        word flags, restorer, mask;
    } action = {handler, SA_RESTORER, 0, 0};
    call(__NR_rt_sigaction, SIGTERM, (word)&action, 0, 8, 0, 0);
}

static long children[20000];
static int count;

/* What a process does when SIGTERM comes. */
static void end_at_once(int signal) {
    (void)signal;
    leave(0);
}
static void end_and_count(int signal) {
    (void)signal;
    __atomic_fetch_add(&page->ended, 1, __ATOMIC_RELAXED);
    leave(0);
}
static void work_and_end(int signal) {
    (void)signal;
    work();
    page->ended = 1;
    page->last = now();
    leave(0);
}
static void forward(int signal) {
    for (int at = 0; at < count; at++) call(__NR_kill, children[at], signal, 0, 0, 0, 0);
    wait_for_all();
    leave(0);
}
static void sweep(int signal) {
    call(__NR_kill, -1, signal, 0, 0, 0, 0);
    wait_for_all();
    leave(0);
}

static void raise_crowd(int wanted) {
    on_term(end_and_count);
    for (count = 0; count < wanted; count++) {
        children[count] = fork();
        if (children[count] < 0) leave(9);
        if (children[count] == 0) {
            __atomic_fetch_add(&page->ready, 1, __ATOMIC_RELAXED);
            stay();
        }
    }
}

static int same(const char *a, const char *b) {
    while (*a && *a == *b) a++, b++;
    return *a == *b;
}

static int number(const char *text) {
    int value = 0;
    while (*text) value = value * 10 + *text++ - '0';
    return value;
}

void start(word *stack) {
    word began = now();
    const char **argv = (const char **)(stack + 1);
    const char *part = *stack > 1 ? argv[1] : "";
    int wanted = *stack > 2 ? number(argv[2]) : 0;
    long mapped = call(__NR_mmap, 0, 4096, 3, 1, 3, 0);
    if (mapped < 0 && mapped > -4096) leave(8);
    page = (volatile struct page *)mapped;
    if (wanted > (int)(sizeof children / sizeof *children)) leave(7);

    if (same(part, "start")) {
        page->first = began;
        leave(0);
    }
    if (same(part, "idle")) {
        page->ready = 1;
        stay();
    }
    /* Main goes when its children do not mind SIGTERM any more. */
    if (same(part, "killed")) {
        on_term((void (*)(int))1);
        for (count = 0; count < wanted; count++) {
            long child = fork();
            if (child < 0) leave(9);
            if (child == 0) stay();
        }
        page->last = now();
        leave(0);
    }
    if (same(part, "last-main")) {
        on_term(work_and_end);
        page->ready = 1;
        stay();
    }
    /* Main goes at once; the worker that it leaves behind still has something to do. */
    if (same(part, "last-worker")) {
        on_term(work_and_end);
        if (fork() == 0) {
            page->ready = 1;
            stay();
        }
        on_term(end_at_once);
        stay();
    }
    /* Main passes the signal on to its children and waits for them. */
    if (same(part, "crowd-forward")) {
        raise_crowd(wanted);
        on_term(forward);
        __atomic_fetch_add(&page->ready, 1, __ATOMIC_RELAXED);
        stay();
    }
    /* Main goes at once and leaves its children behind. */
    if (same(part, "crowd-leave")) {
        raise_crowd(wanted);
        on_term(end_at_once);
        __atomic_fetch_add(&page->ready, 1, __ATOMIC_RELAXED);
        stay();
    }
    /* The least that a PID 1 can do: signal everyone, wait for everyone. */
    if (same(part, "crowd-sweep")) {
        raise_crowd(wanted);
        on_term(sweep);
        __atomic_fetch_add(&page->ready, 1, __ATOMIC_RELAXED);
        stay();
    }
    /* Processes whose parent does not wait for them: they are handed to PID 1, which must reap them. */
    if (same(part, "orphans")) {
        on_term(end_at_once);
        for (int at = 0; at < wanted; at++) {
            long child = fork();
            if (child < 0) leave(9);
            if (child == 0) {
                if (fork() == 0) __atomic_fetch_add(&page->ended, 1, __ATOMIC_RELAXED);
                leave(0);
            }
            wait_for(child);
        }
        page->ready = 1;
        stay();
    }
    leave(6);
}
