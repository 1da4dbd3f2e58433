//go:build ignore

// stopwatch starts programs and measures them from the first fork to the last exit.
//
//	stopwatch HOST COUNT DIR PROGRAM [ARGUMENT...]
//
// enters the network and mount namespaces of process HOST, starts PROGRAM COUNT times at once and waits for all of them.
// Number i reads DIR/in.i, where there is one, and writes DIR/out.i and DIR/err.i. One line goes to stdout:
//
//	wall-clock ns, CPU ns of all, the biggest resident set in KiB, how many did not exit with 0
//
//	stopwatch pause
//
// does nothing until its standard input is closed: the first process of a container.
//
//	stopwatch settle
//
// waits until the kernel has freed what programs had that ended before.
//
// It is a small C program for two reasons. What it adds to the time is little and always the same; and the kernel counts
// the memory of whoever forked into ru_maxrss of the program that is executed then (exec_mmap in fs/exec.c), which for a
// Go program as the parent would be more than there is to measure.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MOST 1024

static void fail(const char *what)
{
	fprintf(stderr, "stopwatch: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void enter(const char *pid, const char *kind, int flag)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%s/ns/%s", pid, kind);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || setns(fd, flag) < 0)
		fail(path);
	close(fd);
}

static int stream(const char *dir, const char *name, int number, int flags)
{
	char path[512];
	snprintf(path, sizeof path, "%s/%s.%d", dir, name, number);
	int fd = open(path, flags | O_CLOEXEC, 0600);
	if (fd < 0 && flags == O_RDONLY && errno == ENOENT)
		fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		fail(path);
	return fd;
}

static int64_t now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static int64_t nanoseconds(struct timeval t)
{
	return t.tv_sec * INT64_C(1000000000) + t.tv_usec * INT64_C(1000);
}

static void start(char **argv, const int *fds)
{
	pid_t pid = vfork();
	if (pid < 0)
		fail("vfork");
	if (pid > 0)
		return;
	for (int i = 0; i < 3; i++)
		if (dup2(fds[i], i) < 0)
			_exit(126);
	execv(argv[0], argv);
	_exit(127);
}

// The kernel frees a netlink socket, and with it the socket's hold on a container's namespace, an RCU grace period after
// its end (deferred_put_nlk_sk in net/netlink/af_netlink.c). Real containers live longer than that. The second wait
// lets the first one's callbacks run.
static int settle(void)
{
	for (int i = 0; i < 2; i++)
		if (syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) < 0)
			fail("membarrier");
	return 0;
}

static int pause_(void)
{
	char c;
	while (read(0, &c, 1) > 0)
		;
	return 0;
}

int main(int argc, char **argv)
{
	static int fds[MOST][3];
	int64_t cpu = 0;
	long most = 0;
	int failed = 0;

	if (argc == 2 && strcmp(argv[1], "pause") == 0)
		return pause_();
	if (argc == 2 && strcmp(argv[1], "settle") == 0)
		return settle();
	int count = argc < 5 ? 0 : atoi(argv[2]);
	if (count < 1 || count > MOST) {
		fprintf(stderr, "usage: stopwatch HOST COUNT DIR PROGRAM [ARGUMENT...] | pause | settle\n");
		return 2;
	}
	for (int i = 0; i < count; i++) {
		fds[i][0] = stream(argv[3], "in", i, O_RDONLY);
		fds[i][1] = stream(argv[3], "out", i, O_WRONLY | O_CREAT | O_TRUNC);
		fds[i][2] = stream(argv[3], "err", i, O_WRONLY | O_CREAT | O_TRUNC);
	}
	enter(argv[1], "net", CLONE_NEWNET);
	enter(argv[1], "mnt", CLONE_NEWNS);

	int64_t began = now();
	for (int i = 0; i < count; i++)
		start(argv + 4, fds[i]);
	for (int i = 0; i < count; i++) {
		struct rusage usage;
		int status;
		if (wait4(-1, &status, 0, &usage) < 0)
			fail("wait4");
		cpu += nanoseconds(usage.ru_utime) + nanoseconds(usage.ru_stime);
		if (usage.ru_maxrss > most)
			most = usage.ru_maxrss;
		if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
			failed++;
	}
	int64_t wall = now() - began;
	printf("%lld %lld %ld %d\n", (long long)wall, (long long)cpu, most, failed);
	return 0;
}
