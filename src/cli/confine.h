/* confine.h - what a node can't do any more, even when someone else has got into it.
 *
 * All of it is for the whole process and for ever, so it is done once, before any thread starts. A
 * core is never written, other processes of the user can't look into this one. Then the caller
 * becomes the user it was told to, without groups and capabilities; new programs gain no rights;
 * Landlock leaves only the folders named here; seccomp takes away the calls that a node never
 * makes. What the kernel does not have is logged and left out: a node on an old kernel is better
 * than none.
 */
#pragma once
#include "base/err.h"

#define CONFINE_PATHS_MAX 48

enum confine_may {
	CONFINE_READ,  /* a file or all below a folder */
	CONFINE_WRITE, /* and write, make and remove there */
	CONFINE_SOCKET /* make and remove sockets in a folder, nothing else */
};

struct confine_path {
	const char *path; /* one that is not there is left out */
	enum confine_may may;
};

/* No core, no dump, no look from outside. Before secrets are read. */
must_check
int confine_memory(struct err *e);

/* Become USER (NULL: stay) and give up every group and capability. KEEPS_LOW_PORTS: but for the one
 * that ports below 1024 need, and only if we have it. ERR_BAD: no such user; ERR_DENIED: only root
 * can become another. */
must_check
int confine_user(const char *user, bool keeps_low_ports, struct err *e);

/* Of the file system only PATHS and what libraries need. */
must_check
int confine_files(const struct confine_path *paths, size_t n, struct err *e);

/* Running a program kills the process; other calls that a node never makes fail with EPERM. */
must_check
int confine_calls(struct err *e);
