/* sign_key.c - see sign_key.h. */
#include "cli/sign_key.h"

#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/fs.h"

#define FILE_MAX_BYTES 256

int
private_file_check(const char *path, struct err *e)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return err_errno(e, errno, "%s", path);
	if (!S_ISREG(st.st_mode))
		return err_set(e, ERR_DENIED, "%s: is not a file", path);
	if (st.st_mode & 077)
		return err_set(e, ERR_DENIED,
		    "%s: mode %04o lets others read this key; do: chmod 600 %s", path,
		    (unsigned)st.st_mode & 07777, path);
	return 0;
}

static int
write_base64(const char *path, const uint8_t *p, size_t n, unsigned mode, struct err *e)
{
	_cleanup_secret_buf_ struct buf text = BUF_INIT(FILE_MAX_BYTES);

	base64_text(&text, p, n);
	buf_add_char(&text, '\n');
	if (buf_check(&text, e) < 0)
		return -1;
	return fs_write(path, text.data, text.len, mode, e);
}

int
sign_key_create(const char *secret_path, const char *public_path,
    uint8_t public[static SIGN_PUBLIC_BYTES], struct err *e)
{
	uint8_t secret[SIGN_SECRET_BYTES];
	int rc = sign_generate(secret, public, e);

	if (rc == 0)
		rc = write_base64(secret_path, secret, sizeof(secret), 0600, e);
	if (rc == 0)
		rc = write_base64(public_path, public, SIGN_PUBLIC_BYTES, 0644, e);
	wipe(secret, sizeof(secret));
	return rc;
}

int
sign_key_read(const char *path, const uint8_t public[static SIGN_PUBLIC_BYTES],
    uint8_t secret[static SIGN_SECRET_BYTES], struct err *e)
{
	_cleanup_secret_buf_ struct buf text = BUF_INIT(FILE_MAX_BYTES);
	_cleanup_secret_buf_ struct buf key = BUF_INIT(FILE_MAX_BYTES);
	uint8_t signature[SIGNATURE_BYTES];

	if (private_file_check(path, e) < 0 || fs_read(path, FILE_MAX_BYTES, &text, e) < 0)
		return -1;
	while (text.len && text.data[text.len - 1] == '\n')
		text.len--;
	if (base64_parse((const char *)text.data, text.len, &key, NULL) < 0 ||
	    key.len != SIGN_SECRET_BYTES)
		return err_set(e, ERR_FORGED, "%s: is not a signing key", path);
	/* Certificates would be worthless if others knew us by another key. */
	if (sign(key.data, public, "domicile", 8, signature, e) < 0)
		return err_add(e, "%s", path);
	if (sign_check(public, "domicile", 8, signature, NULL) < 0)
		return err_set(e, ERR_FORGED,
		    "%s: does not go with this region's `sign` in the regions file", path);
	memcpy(secret, key.data, SIGN_SECRET_BYTES);
	return 0;
}
