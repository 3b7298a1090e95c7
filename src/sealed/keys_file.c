/* keys_file.c - the region key in a file.
 *
 *	domicile region key 1
 *	1 <64 hexadecimal digits>		a generation and its key, ascending
 *	...
 *	sha256 <64 hexadecimal digits>		of everything above this line
 *
 * The checksum tells a damaged file from a wrong one; it keeps nobody out. Generations may be
 * missing: those are destroyed.
 */
#include "sealed/keys.h"
#include "base/frame.h"
#include "base/fs.h"
#include "base/host.h"

#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define FIRST_LINE      "domicile region key 1\n"
#define SUM_WORD        "sha256 "
#define SUM_BYTES       (sizeof(SUM_WORD) - 1 + 64 + 1)
#define GENERATIONS_MAX 64
#define FILE_MAX        8192

struct keys {
	unsigned n;
	struct {
		uint32_t generation;
		uint8_t key[KEY_BYTES];
	} all[GENERATIONS_MAX];
};

/* --- making a file ------------------------------------------------------------------------ */

/* TEXT gets the file's content; returns its length. */
static size_t
write_text(char text[static FILE_MAX], uint32_t generation, const uint8_t key[static KEY_BYTES])
{
	uint8_t sum[SHA256_BYTES];
	char hex[2 * KEY_BYTES + 1];
	int n;

	hex_text(key, KEY_BYTES, hex);
	n = snprintf(text, FILE_MAX, FIRST_LINE "%" PRIu32 " %s\n", generation, hex);
	sha256(text, (size_t)n, sum);
	hex_text(sum, sizeof(sum), hex);
	n += snprintf(text + n, FILE_MAX - (size_t)n, SUM_WORD "%s\n", hex);
	wipe(hex, sizeof(hex));
	return (size_t)n;
}

static int
write_new(const char *path, const char *text, size_t n, struct err *e)
{
	_cleanup_(fd_closep) int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	char folder[PATH_MAX];

	if (fd < 0)
		return err_errno(e, errno, "region key %s", path);
	if (fchmod(fd, 0600) < 0 || fsync(fd) < 0) {
		err_errno(e, errno, "region key %s", path);
		unlink(path);
		return -1;
	}
	if (fs_write_all(fd, text, n, e) < 0) {
		unlink(path);
		return err_add(e, "region key %s", path);
	}
	if (fsync(fd) < 0)
		return err_errno(e, errno, "region key %s", path);
	snprintf(folder, sizeof(folder), "%s", path);
	return fs_sync_dir(dirname(folder), e);
}

int
keys_file_create(const char *path, struct err *e)
{
	char *text = secret_alloc(FILE_MAX, e);
	uint8_t key[KEY_BYTES];
	int rc;

	if (!text)
		return -1;
	host_random(key, sizeof(key));
	rc = write_new(path, text, write_text(text, 1, key), e);
	wipe(key, sizeof(key));
	secret_free(text, FILE_MAX);
	return rc;
}

/* --- reading it --------------------------------------------------------------------------- */

static int
check_file(int fd, const char *path, struct err *e)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_errno(e, errno, "region key %s", path);
	if (!S_ISREG(st.st_mode))
		return err_set(e, ERR_DENIED, "region key %s: not a regular file", path);
	if (st.st_uid != geteuid())
		return err_set(e, ERR_DENIED,
		    "region key %s: belongs to user %u; give it to user %u with chown", path,
		    (unsigned)st.st_uid, (unsigned)geteuid());
	if ((st.st_mode & 07777) != 0600 && (st.st_mode & 07777) != 0400)
		return err_set(e, ERR_DENIED,
		    "region key %s: its mode is %04o; others may have read it. If not: chmod 600",
		    path, (unsigned)st.st_mode & 07777);
	return 0;
}

/* The whole file into TEXT with a NUL after it; returns its length or -1. */
static ssize_t
read_text(const char *path, char text[static FILE_MAX], struct err *e)
{
	_cleanup_(fd_closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	size_t n = 0;

	if (fd < 0)
		return err_errno(e, errno, "region key %s", path);
	if (check_file(fd, path, e) < 0)
		return -1;
	while (n < FILE_MAX - 1) {
		ssize_t got = read(fd, text + n, FILE_MAX - 1 - n);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return err_errno(e, errno, "region key %s", path);
		if (!got)
			break;
		n += (size_t)got;
	}
	text[n] = 0;
	return (ssize_t)n;
}

/* false if the checksum at the end of TEXT is not that of what is before; cuts it off. */
static bool
take_sum(char *text, size_t n)
{
	uint8_t sum[SHA256_BYTES], should[SHA256_BYTES];
	char *line;

	if (n < SUM_BYTES || strlen(text) != n || text[n - 1] != '\n')
		return false;
	line = text + n - SUM_BYTES;
	text[n - 1] = 0;
	if (memcmp(line, SUM_WORD, sizeof(SUM_WORD) - 1) != 0 ||
	    !hex_parse(line + sizeof(SUM_WORD) - 1, should, sizeof(should)))
		return false;
	sha256(text, n - SUM_BYTES, sum);
	*line = 0;
	return memcmp(sum, should, sizeof(sum)) == 0;
}

/* One generation's line; false if it is not one. */
static bool
take_generation(struct keys *k, const char *line)
{
	char *end;
	unsigned long g = strtoul(line, &end, 10);

	if (k->n == GENERATIONS_MAX || end == line || *end != ' ' || !g || g > UINT32_MAX)
		return false;
	if (k->n && g <= k->all[k->n - 1].generation)
		return false;
	if (!hex_parse(end + 1, k->all[k->n].key, KEY_BYTES))
		return false;
	k->all[k->n++].generation = (uint32_t)g;
	return true;
}

static bool
parse_text(struct keys *k, char *text, size_t n)
{
	char *line, *next;

	if (!take_sum(text, n) || strncmp(text, FIRST_LINE, sizeof(FIRST_LINE) - 1) != 0)
		return false;
	for (line = text + sizeof(FIRST_LINE) - 1; *line; line = next) {
		next = strchr(line, '\n');
		if (!next)
			return false;
		*next++ = 0;
		if (!take_generation(k, line))
			return false;
	}
	return k->n > 0;
}

struct keys *
keys_file_open(const char *path, struct err *e)
{
	_cleanup_(keys_closep) struct keys *k = secret_alloc(sizeof(*k), e);
	char *text = secret_alloc(FILE_MAX, e);
	bool is_good = false;
	ssize_t n = -1;

	if (k && text) {
		n = read_text(path, text, e);
		is_good = n >= 0 && parse_text(k, text, (size_t)n);
		if (n >= 0 && !is_good)
			err_set(e, ERR_FORGED, "region key %s: damaged, or not a region key", path);
	}
	secret_free(text, FILE_MAX);
	return is_good ? take(&k) : NULL;
}

void
keys_close(struct keys *k)
{
	secret_free(k, sizeof(*k));
}

/* --- wrapping ----------------------------------------------------------------------------- */

#define AD_BYTES (1 + VAULT_ID_BYTES + 8)

static void
bind(uint8_t ad[static AD_BYTES], const struct vault_id *id, uint64_t epoch)
{
	ad[0] = 'W';
	memcpy(ad + 1, id, VAULT_ID_BYTES);
	be64_put(ad + 1 + VAULT_ID_BYTES, epoch);
}

uint32_t
keys_generation(const struct keys *k)
{
	return k->all[k->n - 1].generation;
}

/* An aead serves one thread at a time, so each call opens its own. */
static struct aead *
open_generation(const struct keys *k, uint32_t generation, struct err *e)
{
	for (unsigned i = 0; i < k->n; i++)
		if (k->all[i].generation == generation)
			return aead_open(k->all[i].key, e);
	err_set(
	    e, ERR_MISSING, "generation %" PRIu32 " of the region key is destroyed", generation);
	return NULL;
}

int
keys_wrap(struct keys *k, const struct vault_id *id, uint64_t epoch,
    const uint8_t data_key[static KEY_BYTES], uint8_t out[static WRAPPED_BYTES], struct err *e)
{
	uint32_t generation = keys_generation(k);
	_cleanup_(aead_closep) struct aead *a = open_generation(k, generation, e);
	uint8_t ad[AD_BYTES];

	if (!a)
		return -1;
	be32_put(out, generation);
	host_random(out + 4, NONCE_BYTES);
	bind(ad, id, epoch);
	return aead_seal(a, out + 4, ad, sizeof(ad), data_key, KEY_BYTES, out + 4 + NONCE_BYTES, e);
}

int
keys_unwrap(struct keys *k, const struct vault_id *id, uint64_t epoch,
    const uint8_t wrapped[static WRAPPED_BYTES], uint8_t out[static KEY_BYTES], struct err *e)
{
	_cleanup_(aead_closep) struct aead *a = open_generation(k, be32_get(wrapped), e);
	uint8_t ad[AD_BYTES];

	if (!a)
		return -1;
	bind(ad, id, epoch);
	if (aead_unseal(a, wrapped + 4, ad, sizeof(ad), wrapped + 4 + NONCE_BYTES,
	        KEY_BYTES + TAG_BYTES, out, e) < 0)
		return err_set(e, ERR_FORGED,
		    "the data key was not wrapped for this vault by this region's key");
	return 0;
}
