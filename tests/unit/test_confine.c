/* What a confined process can't do any more. Each test is a process of its own: there is no way back. */
#include "check.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fs.h"
#include "cli/confine.h"

/* The status of a child that ran FN; 0: all that it expects held. */
static int
in_child(int (*fn)(const char *folder), const char *folder)
{
	int status;
	pid_t child = fork();

	if (child == 0)
		_exit(fn(folder));
	CHECK(child > 0 && waitpid(child, &status, 0) == child);
	return status;
}

#define EXPECT(what) \
	do { \
		if (!(what)) \
			return __LINE__ % 250 + 1; \
	} while (0)

static int
runs_a_program(const char *folder)
{
	struct err e;

	(void)folder;
	EXPECT(confine_calls(&e) == 0);
	execl("/bin/true", "true", NULL);
	return 1;
}

static void
running_a_program_kills_the_process(void **state)
{
	int status = in_child(runs_a_program, *state);

	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
}

static void *
do_nothing(void *arg)
{
	return arg;
}

static int
calls(const char *folder)
{
	struct err e;
	pthread_t thread;
	void *memory;

	(void)folder;
	EXPECT(confine_calls(&e) == 0);
	EXPECT(prctl(PR_GET_SECCOMP, 0, 0, 0, 0) == 2);
	EXPECT(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
	EXPECT(unshare(CLONE_NEWUSER) < 0 && errno == EPERM);
	EXPECT(
	    syscall(SYS_setgid, 0) < 0 && errno == EPERM); /* of this thread: TSan has one more */
	EXPECT(socket(AF_PACKET, SOCK_RAW, 0) < 0 && errno == EAFNOSUPPORT);
	EXPECT(socket(40 /* vsock */, SOCK_STREAM, 0) < 0 && errno == EAFNOSUPPORT);
	EXPECT(syscall(SYS_process_vm_readv, getppid(), NULL, 0, NULL, 0, 0) < 0 && errno == EPERM);
	EXPECT(syscall(SYS_bpf, 0, NULL, 0) < 0 && errno == EPERM);
	memory = mmap(
	    NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	EXPECT(memory == MAP_FAILED && errno == EPERM);
	memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	EXPECT(memory != MAP_FAILED && mprotect(memory, 4096, PROT_READ | PROT_EXEC) < 0);
	/* And what it does call goes on. */
	EXPECT(socket(AF_INET6, SOCK_STREAM, 0) >= 0 && socket(AF_UNIX, SOCK_STREAM, 0) >= 0);
	EXPECT(pthread_create(&thread, NULL, do_nothing, NULL) == 0);
	EXPECT(pthread_join(thread, NULL) == 0);
	return 0;
}

static void
what_a_node_never_calls_is_refused(void **state)
{
	CHECK(in_child(calls, *state) == 0);
}

static int
files(const char *folder)
{
	char path[5][4096];
	struct confine_path allowed[] = { { path[0], CONFINE_READ }, { path[1], CONFINE_WRITE },
		{ path[2], CONFINE_SOCKET }, { "/nonexistent", CONFINE_WRITE } };
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int s = socket(AF_UNIX, SOCK_STREAM, 0);
	struct err e;

	snprintf(path[0], sizeof(path[0]), "%.200s/read", folder);
	snprintf(path[1], sizeof(path[1]), "%s/write", folder);
	snprintf(path[2], sizeof(path[2]), "%s/socket", folder);
	for (unsigned i = 0; i < 3; i++) {
		EXPECT(fs_mkdir(path[i], 0700, &e) == 0);
		snprintf(path[3], sizeof(path[3]), "%.300s/a", path[i]);
		EXPECT(fs_write(path[3], "a", 1, 0600, &e) == 0);
	}
	EXPECT(confine_files(allowed, ARRAY_LEN(allowed), &e) == 0);
	if (open(folder, O_RDONLY) >= 0)
		return 0; /* no Landlock in this kernel */
	EXPECT(errno == EACCES);
	snprintf(path[3], sizeof(path[3]), "%s/read/a", folder);
	EXPECT(open(path[3], O_RDONLY) >= 0);
	EXPECT(open(path[3], O_WRONLY) < 0 && unlink(path[3]) < 0);
	snprintf(path[3], sizeof(path[3]), "%s/write/sub", folder);
	EXPECT(fs_mkdir(path[3], 0700, &e) == 0);
	snprintf(path[3], sizeof(path[3]), "%s/write/a", folder);
	snprintf(path[4], sizeof(path[4]), "%s/write/sub/a", folder);
	EXPECT(rename(path[3], path[4]) == 0 && fs_write(path[4], "b", 1, 0600, &e) == 0);
	EXPECT(truncate(path[4], 0) == 0);
	snprintf(path[3], sizeof(path[3]), "%s/read/b", folder);
	EXPECT(rename(path[4], path[3]) < 0);
	snprintf(path[3], sizeof(path[3]), "%s/socket/a", folder);
	EXPECT(open(path[3], O_RDONLY) < 0 && unlink(path[3]) == 0);
	snprintf(at.sun_path, sizeof(at.sun_path), "%.80s/socket/s", folder);
	EXPECT(bind(s, (struct sockaddr *)&at, sizeof(at)) == 0);
	EXPECT(open("/root", O_RDONLY | O_DIRECTORY) < 0 && open("/tmp", O_RDONLY) < 0);
	EXPECT(open("/dev/urandom", O_RDONLY) >= 0 && open("/etc/hosts", O_RDONLY) >= 0);
	return 0;
}

static void
only_the_files_that_were_named_are_there(void **state)
{
	CHECK(in_child(files, *state) == 0);
}

static int
memory_and_user(const char *folder)
{
	struct rlimit core;
	char before[32];
	struct err e;

	(void)folder;
	EXPECT(confine_memory(&e) == 0);
	EXPECT(getrlimit(RLIMIT_CORE, &core) == 0 && !core.rlim_max);
	EXPECT(confine_user("there-is-no-such-user", false, &e) < 0 && e.kind == ERR_BAD);
	if (geteuid() != 0) {
		EXPECT(confine_user("root", false, &e) < 0 && e.kind == ERR_DENIED);
		return 0;
	}
	EXPECT(confine_user("nobody", false, &e) == 0);
	EXPECT(geteuid() != 0 && getuid() == geteuid() && getgroups(0, NULL) == 0);
	EXPECT(setuid(0) < 0 && setgid(0) < 0 && chroot("/") < 0);
	EXPECT(readlink("/proc/1/exe", before, sizeof(before)) < 0);
	return 0;
}

static void
another_user_without_rights_and_no_core(void **state)
{
	CHECK(in_child(memory_and_user, *state) == 0);
}

static int
setup(void **state)
{
	*state = check_dir_make();
	return 0;
}

static int
teardown(void **state)
{
	check_dir_remove(*state);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(running_a_program_kills_the_process),
		cmocka_unit_test(what_a_node_never_calls_is_refused),
		cmocka_unit_test(only_the_files_that_were_named_are_there),
		cmocka_unit_test(another_user_without_rights_and_no_core),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
