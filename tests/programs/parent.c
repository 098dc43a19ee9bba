/*
 * The textbook case's parent: it starts a child, and when SIGTERM comes it says so and exits 0 at once. It handles its signal as
 * any tutorial tells it to, and does not think of its child: nobody told it to.
 */
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void on_term(int signal)
{
	static const char said[] = "parent: received SIGTERM\n";

	(void)signal;
	(void)!write(STDOUT_FILENO, said, sizeof(said) - 1);
	_exit(0);
}

/* Becomes the program `child` that lies beside this one. */
static void become_child(void)
{
	char path[PATH_MAX];
	ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - sizeof("/child"));

	if (length < 0) {
		perror("parent: /proc/self/exe");
		_exit(1);
	}
	path[length] = '\0';
	strcat(dirname(path), "/child");
	execl(path, "child", (char *)NULL);
	perror("parent: child");
	_exit(1);
}

int main(void)
{
	struct sigaction action = { .sa_handler = on_term };
	pid_t child = fork();

	if (child < 0) {
		perror("parent: fork");
		return 1;
	}
	if (child == 0)
		become_child();
	sigaction(SIGTERM, &action, NULL);
	puts("parent: up");
	fflush(stdout);
	for (;;)
		pause();
}
