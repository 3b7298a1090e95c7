/* s3_checksum_joint.c - the checksum of an object from those of its parts. See s3_checksum.h. */
#include "front/s3_checksum.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"

static bool
is_crc(enum checksum_kind kind)
{
	return kind == CHECKSUM_CRC32 || kind == CHECKSUM_CRC32C || kind == CHECKSUM_CRC64NVME;
}

bool
checksum_can_join(enum checksum_kind kind, bool is_full)
{
	return is_full ? is_crc(kind) : kind != CHECKSUM_NONE && kind != CHECKSUM_CRC64NVME;
}

int
checksum_joint_open(struct checksum_joint *j, enum checksum_kind kind, bool is_full, struct err *e)
{
	*j = (struct checksum_joint){ .kind = kind, .is_full = is_full };
	return checksum_open(&j->sum, is_full ? CHECKSUM_NONE : kind, e);
}

bool
checksum_joint_add(struct checksum_joint *j, const char *text, uint64_t size)
{
	_cleanup_buf_ struct buf raw = BUF_INIT(CHECKSUM_TEXT);
	char same[CHECKSUM_TEXT];
	uint64_t crc = 0;
	struct err e;

	if (!checksum_parse(j->kind, text, same) || base64_parse(same, strlen(same), &raw, &e) < 0)
		return false;
	j->n++;
	if (!j->is_full) {
		checksum_add(&j->sum, raw.data, raw.len);
		return true;
	}
	for (size_t i = 0; i < raw.len; i++)
		crc = crc << 8 | raw.data[i];
	j->crc = checksum_crc_join(j->kind, j->crc, crc, size);
	return true;
}

void
checksum_joint_end(struct checksum_joint *j, char out[static CHECKSUM_TEXT])
{
	_cleanup_buf_ struct buf b = BUF_INIT(CHECKSUM_TEXT);
	uint8_t digest[8];
	size_t n = j->kind == CHECKSUM_CRC64NVME ? 8 : 4;
	char text[CHECKSUM_TEXT];

	if (!j->is_full) {
		checksum_end(&j->sum, text);
		snprintf(out, CHECKSUM_TEXT, "%.44s-%u", text, j->n % 100000);
		return;
	}
	for (size_t i = 0; i < n; i++)
		digest[i] = (uint8_t)(j->crc >> 8 * (n - 1 - i));
	base64_text(&b, digest, n);
	snprintf(out, CHECKSUM_TEXT, "%s", buf_str(&b));
}

void
checksum_joint_free(struct checksum_joint *j)
{
	checksum_free(&j->sum);
}
