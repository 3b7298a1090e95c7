/* backup_folder.c - a folder for backups: whether it may be one, and what is made in it. */
#include "service/backup_internal.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include "base/fs.h"

int
backup_folder_take(const char *folder, const char *region, struct err *e)
{
	_cleanup_buf_ struct buf mark = BUF_INIT(4096);
	char path[BACKUP_PATH], expected[64];
	const struct dirent *entry;
	struct err why;
	DIR *d;
	bool has_any = false;

	snprintf(path, sizeof(path), "%s/" BACKUP_MARK, folder);
	snprintf(expected, sizeof(expected), "%s\n", region);
	if (fs_read(path, 4096, &mark, &why) == 0)
		return strcmp(buf_str(&mark), expected) == 0
		    ? 0
		    : err_set(e, ERR_BAD, "%s has backups of another region: %.40s", folder,
		          buf_str(&mark));
	d = opendir(folder);
	if (!d)
		return err_errno(e, errno, "%s", folder);
	while ((entry = readdir(d)))
		has_any |= strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
	closedir(d);
	if (has_any)
		return err_set(e, ERR_EXISTS,
		    "%s has something else in it; give an empty folder or one of earlier backups",
		    folder);
	return fs_write(path, expected, strlen(expected), 0600, e);
}

int
backup_folder_fill(const char *folder, struct err *e)
{
	static const char *const kinds[] = { "objects", "chunks" };
	char path[BACKUP_PATH];

	for (size_t k = 0; k < ARRAY_LEN(kinds); k++)
		for (unsigned i = 0; i < BACKUP_GROUPS; i++) {
			snprintf(path, sizeof(path), "%s/%s/%02x", folder, kinds[k], i);
			if (fs_mkdir(path, 0700, e) < 0)
				return -1;
		}
	return 0;
}
