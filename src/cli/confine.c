/* confine.c - see confine.h. Facts: capabilities(7), landlock(7), seccomp(2), seccomp_rule_add(3). */
#include "cli/confine.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <pwd.h>
#include <sched.h>
#include <seccomp.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"

/* The leak checker traces its own process when it ends, and tells the place from the program. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define IS_SANITIZED true
#else
#define IS_SANITIZED false
#endif

int
confine_memory(struct err *e)
{
	const struct rlimit none = { 0, 0 };

	if (setrlimit(RLIMIT_CORE, &none) < 0)
		return err_errno(e, errno, "forbidding cores");
	if (!IS_SANITIZED && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return err_errno(e, errno, "forbidding dumps");
	return 0;
}

/* --- who we are --- */

static int
become(const char *name, struct err *e)
{
	char text[4096];
	struct passwd entry, *found = NULL;

	if (getpwnam_r(name, &entry, text, sizeof(text), &found) || !found)
		return err_set(e, ERR_BAD,
		    "user = %.60s: there is no such user; do: useradd --system %.60s", name, name);
	if (geteuid() == found->pw_uid && getuid() == found->pw_uid)
		return 0;
	if (geteuid() != 0)
		return err_set(e, ERR_DENIED,
		    "user = %.60s: only root can become another user; start as root or as %.60s",
		    name, name);
	if (!found->pw_uid)
		return 0;
	if (setgroups(0, NULL) < 0 || setresgid(found->pw_gid, found->pw_gid, found->pw_gid) < 0 ||
	    setresuid(found->pw_uid, found->pw_uid, found->pw_uid) < 0)
		return err_errno(e, errno, "becoming user %.60s", name);
	return 0;
}

#define LOW_PORTS (UINT64_C(1) << CAP_NET_BIND_SERVICE)

/* glibc has no such functions. */
static int
read_capabilities(uint64_t *permitted)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { { 0 } };

	if (syscall(SYS_capget, &head, data) < 0)
		return -1;
	*permitted = data[0].permitted | (uint64_t)data[1].permitted << 32;
	return 0;
}

static int
set_capabilities(uint64_t kept)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { 0 };

	data[0].effective = data[0].permitted = (uint32_t)kept;
	data[1].effective = data[1].permitted = (uint32_t)(kept >> 32);
	return (int)syscall(SYS_capset, &head, data);
}

static void
drop_bounding(uint64_t kept)
{
	for (unsigned c = 0; prctl(PR_CAPBSET_READ, c, 0, 0, 0) >= 0; c++)
		if (!(kept >> c & 1) && prctl(PR_CAPBSET_DROP, c, 0, 0, 0) < 0)
			return; /* not ours to change; without rights of its own it gives none */
}

int
confine_user(const char *user, bool keeps_low_ports, struct err *e)
{
	uint64_t had, kept;

	if (read_capabilities(&had) < 0)
		return err_errno(e, errno, "reading capabilities");
	kept = keeps_low_ports ? had & LOW_PORTS : 0;
	drop_bounding(kept);
	if (kept && prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
		return err_errno(e, errno, "keeping a capability");
	if (user && become(user, e) < 0)
		return -1;
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 && errno != EINVAL)
		return err_errno(e, errno, "giving up ambient capabilities");
	if (read_capabilities(&had) < 0 || (had != kept && set_capabilities(kept) < 0))
		return err_errno(e, errno, "giving up capabilities");
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_errno(e, errno, "giving up new rights");
	if (geteuid() == 0)
		log_warn("confine.user", NULL,
		    "the node runs as root; give it a user of its own: user = NAME in region.conf");
	return 0;
}

/* --- Landlock --- */

/* Newer than the kernel's headers may be. */
#define MAY_TRUNCATE  (UINT64_C(1) << 14) /* from version 3 on */
#define MAY_IOCTL     (UINT64_C(1) << 15) /* of devices, from version 5 on */
#define WANTED_ABI    2                   /* before it nothing can be renamed into another folder */
#define FILE_RIGHTS   (READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | MAY_TRUNCATE)
#define READ_FILE     ((uint64_t)LANDLOCK_ACCESS_FS_READ_FILE)
#define READ_RIGHTS   (READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define SOCKET_RIGHTS (LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_REMOVE_FILE)
#define WRITE_RIGHTS \
	(READ_RIGHTS | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_FILE | \
	    LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG | \
	    LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_REFER | MAY_TRUNCATE)
#define VERSION_2_RIGHTS ((UINT64_C(1) << 14) - 1)

/* Folders rather than files where a file may be replaced while the node runs. */
static const struct confine_path common[] = {
	{ "/etc", CONFINE_READ }, /* names of hosts, time zone, settings of libraries */
	{ "/run/systemd/resolve", CONFINE_READ },
	{ "/usr", CONFINE_READ }, /* libraries that libraries load, locales */
	{ "/lib", CONFINE_READ },
	{ "/lib64", CONFINE_READ },
	{ "/proc/self", CONFINE_READ },
	{ "/proc/meminfo", CONFINE_READ },
	{ "/proc/cpuinfo", CONFINE_READ },
	{ "/proc/stat", CONFINE_READ },
	{ "/proc/loadavg", CONFINE_READ },
	{ "/proc/sys", CONFINE_READ },
	{ "/sys", CONFINE_READ }, /* how many processors, the blocks of disks */
	{ "/dev/urandom", CONFINE_READ },
	{ "/dev/random", CONFINE_READ },
	{ "/dev/null", CONFINE_WRITE },
};

static uint64_t
rights_of(enum confine_may may)
{
	switch (may) {
	case CONFINE_READ:
		return READ_RIGHTS;
	case CONFINE_WRITE:
		return WRITE_RIGHTS;
	case CONFINE_SOCKET:
		return SOCKET_RIGHTS;
	}
	return 0;
}

static int
allow(int rules, const struct confine_path *p, uint64_t handled, struct err *e)
{
	_cleanup_(fd_closep) int fd = open(p->path, O_PATH | O_CLOEXEC);
	struct landlock_path_beneath_attr rule = { .parent_fd = fd };
	struct stat st;

	if (fd < 0)
		return errno == ENOENT || errno == ENOTDIR || errno == EACCES
		    ? 0
		    : err_errno(e, errno, "%s", p->path);
	if (fstat(fd, &st) < 0)
		return err_errno(e, errno, "%s", p->path);
	rule.allowed_access = rights_of(p->may) & handled;
	if (!S_ISDIR(st.st_mode))
		rule.allowed_access &= FILE_RIGHTS;
	if (syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
		return err_errno(e, errno, "letting the node use %s", p->path);
	return 0;
}

static int
allow_all(int rules, const struct confine_path *p, size_t n, uint64_t handled, struct err *e)
{
	for (size_t i = 0; i < n; i++)
		if (allow(rules, &p[i], handled, e) < 0)
			return -1;
	return 0;
}

static uint64_t
rights_known_to(long abi)
{
	return VERSION_2_RIGHTS | (abi >= 3 ? MAY_TRUNCATE : 0) | (abi >= 5 ? MAY_IOCTL : 0);
}

int
confine_files(const struct confine_path *paths, size_t n, struct err *e)
{
	static const struct confine_path program = { "/proc/self/exe", CONFINE_READ };
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	struct landlock_ruleset_attr attr = { .handled_access_fs = rights_known_to(abi) };
	_cleanup_(fd_closep) int rules = -1;

	if (abi < WANTED_ABI) {
		log_warn("confine.files", NULL,
		    "the kernel has no Landlock of version %d: files are not confined", WANTED_ABI);
		return 0;
	}
	rules = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
	if (rules < 0)
		return err_errno(e, errno, "confining files");
	if (allow_all(rules, common, ARRAY_LEN(common), attr.handled_access_fs, e) < 0 ||
	    allow_all(rules, paths, n, attr.handled_access_fs, e) < 0 ||
	    (IS_SANITIZED && allow(rules, &program, attr.handled_access_fs, e) < 0))
		return -1;
	if (syscall(SYS_landlock_restrict_self, rules, 0) < 0)
		return err_errno(e, errno, "confining files");
	return 0;
}

/* --- seccomp --- */

/* What gives nobody but an intruder an advantage. Libraries go on without. */
static const char *const refused[] = { "acct", "add_key", "adjtimex", "bpf", "capset", "chroot",
	"clock_adjtime", "clock_settime", "create_module", "delete_module", "fanotify_init",
	"finit_module", "fsconfig", "fsmount", "fsopen", "fspick", "init_module", "io_uring_enter",
	"io_uring_register", "io_uring_setup", "ioperm", "iopl", "kcmp", "kexec_file_load",
	"kexec_load", "keyctl", "lookup_dcookie", "mknod", "mknodat", "mount", "mount_setattr",
	"move_mount", "move_pages", "name_to_handle_at", "nfsservctl", "open_by_handle_at",
	"open_tree", "perf_event_open", "personality", "pidfd_getfd", "pivot_root",
	"process_madvise", "process_vm_readv", "process_vm_writev", "quotactl", "quotactl_fd",
	"reboot", "request_key", "setdomainname", "setfsgid", "setfsuid", "setgid", "setgroups",
	"sethostname", "setns", "setregid", "setresgid", "setresuid", "setreuid", "settimeofday",
	"setuid", "swapoff", "swapon", "syslog", "umount2", "unshare", "userfaultfd", "vhangup",
	"vmsplice" };

/* Rules that are all the same to one call: libseccomp's answers are negative errno values. */
static int
refuse_by_name(scmp_filter_ctx f)
{
	int rc = 0;

	for (size_t i = 0; !rc && i < ARRAY_LEN(refused); i++) {
		int nr = seccomp_syscall_resolve_name(refused[i]);

		if (nr >= 0) /* this machine has it */
			rc = seccomp_rule_add(f, SCMP_ACT_ERRNO(EPERM), nr, 0);
	}
	if (!rc && !IS_SANITIZED)
		rc = seccomp_rule_add(f, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(ptrace), 0);
	return rc;
}

/* TCP, local sockets, and what the C library asks about addresses. */
static int
refuse_sockets(scmp_filter_ctx f)
{
	int rc = seccomp_rule_add(
	    f, SCMP_ACT_ERRNO(EAFNOSUPPORT), SCMP_SYS(socket), 1, SCMP_A0(SCMP_CMP_GT, AF_NETLINK));

	for (unsigned family = 0; !rc && family < AF_NETLINK; family++)
		if (family != AF_UNIX && family != AF_INET && family != AF_INET6)
			rc = seccomp_rule_add(f, SCMP_ACT_ERRNO(EAFNOSUPPORT), SCMP_SYS(socket), 1,
			    SCMP_A0(SCMP_CMP_EQ, family));
	return rc;
}

/* Namespaces are a way to capabilities. clone3 has its flags where no filter sees them; without it
 * glibc takes clone. */
static int
refuse_namespaces(scmp_filter_ctx f)
{
	static const unsigned long flags[] = { CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS,
		CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET };
	int rc = seccomp_rule_add(f, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);

	for (size_t i = 0; !rc && i < ARRAY_LEN(flags); i++)
		rc = seccomp_rule_add(f, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1,
		    SCMP_A0(SCMP_CMP_MASKED_EQ, flags[i], flags[i]));
	return rc;
}

/* No memory becomes code that did not come from a file. */
static int
refuse_new_code(scmp_filter_ctx f)
{
	const unsigned long both = PROT_WRITE | PROT_EXEC;
	int rc = seccomp_rule_add(
	    f, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(mmap), 1, SCMP_A2(SCMP_CMP_MASKED_EQ, both, both));

	if (!rc)
		rc = seccomp_rule_add(f, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(mprotect), 1,
		    SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, PROT_EXEC));
	if (!rc)
		rc = seccomp_rule_add(f, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(pkey_mprotect), 1,
		    SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, PROT_EXEC));
	return rc;
}

/* A node has no other program to run: who tries has taken it over, and goes no further. */
static int
kill_at_execve(scmp_filter_ctx f)
{
	int rc = seccomp_rule_add(f, SCMP_ACT_KILL_PROCESS, SCMP_SYS(execve), 0);

	return rc ? rc : seccomp_rule_add(f, SCMP_ACT_KILL_PROCESS, SCMP_SYS(execveat), 0);
}

static int
make_filter(scmp_filter_ctx f)
{
	int rc = seccomp_attr_set(f, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);

	if (!rc)
		rc = refuse_by_name(f);
	if (!rc)
		rc = refuse_sockets(f);
	if (!rc)
		rc = refuse_namespaces(f);
	if (!rc)
		rc = refuse_new_code(f);
	return rc ? rc : kill_at_execve(f);
}

static void
filter_releasep(scmp_filter_ctx *f)
{
	if (*f)
		seccomp_release(*f);
}

int
confine_calls(struct err *e)
{
	_cleanup_(filter_releasep) scmp_filter_ctx f = NULL;
	int rc;

	if (prctl(PR_GET_SECCOMP, 0, 0, 0, 0) < 0) {
		log_warn(
		    "confine.calls", NULL, "the kernel has no seccomp: calls are not confined");
		return 0;
	}
	f = seccomp_init(SCMP_ACT_ALLOW);
	if (!f)
		return err_set(e, ERR_MEMORY, "no memory for the filter of system calls");
	rc = make_filter(f);
	if (!rc)
		rc = seccomp_load(f);
	if (rc)
		return err_errno(e, -rc, "confining system calls");
	return 0;
}
