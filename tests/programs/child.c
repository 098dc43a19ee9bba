/*
 * The textbook case's child: when SIGTERM comes it says so, takes two seconds to finish its work, says that too, and exits 0.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t stopping;

static void on_term(int signal)
{
	static const char said[] = "child: received SIGTERM\n";

	(void)signal;
	if (!stopping)
		(void)!write(STDOUT_FILENO, said, sizeof(said) - 1);
	stopping = 1;
}

int main(void)
{
	struct sigaction action = { .sa_handler = on_term };
	struct timespec work = { .tv_sec = 2 };
	sigset_t term, none;

	sigemptyset(&none);
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	/* Held back but while waiting, so that no signal falls between the question and the wait. */
	sigprocmask(SIG_BLOCK, &term, &none);
	sigdelset(&none, SIGTERM);
	sigaction(SIGTERM, &action, NULL);
	puts("child: up");
	fflush(stdout);
	while (!stopping)
		sigsuspend(&none);
	while (nanosleep(&work, &work) < 0 && errno == EINTR)
		;
	puts("child: work finished");
	return 0;
}
