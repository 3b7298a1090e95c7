/* bare - what the machine itself takes for the single steps of storing bytes. One JSON object.
 *
 *	bare FOLDER		a folder on the disk that is measured
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/crypto.h"
#include "base/host.h"

#define BLOCK  ((size_t)1 << 20)
#define ROUNDS 256

static double
seconds_since(uint64_t began)
{
	return (double)(host_mono_ns() - began) / 1e9;
}

static double
hash_rate(enum hash_kind kind, const uint8_t *p)
{
	_cleanup_(hash_closep) struct hash *h = hash_open(kind, NULL);
	uint8_t digest[SHA256_BYTES];
	uint64_t began = host_mono_ns();

	for (int i = 0; i < ROUNDS; i++)
		hash_add(h, p, BLOCK);
	hash_end(h, digest);
	return (double)ROUNDS * BLOCK / seconds_since(began) / 1e6;
}

static double
seal_rate(const uint8_t *p, uint8_t *out)
{
	uint8_t key[KEY_BYTES] = { 1 }, nonce[NONCE_BYTES] = { 0 };
	_cleanup_(aead_closep) struct aead *a = aead_open(key, NULL);
	uint64_t began = host_mono_ns();

	for (int i = 0; i < ROUNDS * 16; i++) {
		nonce[0] = (uint8_t)i, nonce[1] = (uint8_t)(i >> 8);
		if (aead_seal(a, nonce, "", 0, p, 65536, out, NULL) < 0)
			return 0;
	}
	return (double)ROUNDS * BLOCK / seconds_since(began) / 1e6;
}

static double
copy_rate(uint8_t *p, uint8_t *out)
{
	uint64_t began = host_mono_ns();

	for (int i = 0; i < ROUNDS * 4; i++) {
		memcpy(out, p, BLOCK);
		p[i % BLOCK] = out[(i * 7) % (int)BLOCK];
	}
	return (double)ROUNDS * 4 * BLOCK / seconds_since(began) / 1e6;
}

/* Appending 4 KiB and waiting for the disk, microseconds. */
static double
sync_us(const char *path, const uint8_t *p)
{
	int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0600), n = 500;
	uint64_t began;

	if (fd < 0)
		return 0;
	began = host_mono_ns();
	for (int i = 0; i < n; i++)
		if (write(fd, p, 4096) != 4096 || fdatasync(fd) < 0)
			n = i;
	close(fd);
	return n ? seconds_since(began) * 1e6 / n : 0;
}

/* 256 MiB, synced every 4 MiB as chunks are. */
static double
write_rate(const char *path, const uint8_t *p)
{
	int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0600);
	uint64_t began = host_mono_ns();

	for (int i = 0; i < ROUNDS; i++)
		if (write(fd, p, BLOCK) != (ssize_t)BLOCK || (i % 4 == 3 && fdatasync(fd) < 0))
			break;
	close(fd);
	return (double)ROUNDS * BLOCK / seconds_since(began) / 1e6;
}

int
main(int argc, char **argv)
{
	uint8_t *p = malloc(BLOCK), *out = malloc(BLOCK + 65536);
	char path[4096];

	if (argc != 2 || !p || !out) {
		fprintf(stderr, "bare: usage: bare FOLDER\n");
		return 2;
	}
	snprintf(path, sizeof path, "%s/bare.tmp", argv[1]);
	host_random(p, BLOCK);
	printf(
	    "{\"md5_mb_s\": %.0f, \"sha256_mb_s\": %.0f, \"aes_gcm_mb_s\": %.0f, \"memcpy_mb_s\": %.0f, "
	    "\"fdatasync_4k_us\": %.0f, \"write_synced_mb_s\": %.0f}\n",
	    hash_rate(HASH_MD5, p), hash_rate(HASH_SHA256, p), seal_rate(p, out), copy_rate(p, out),
	    sync_us(path, p), write_rate(path, p));
	unlink(path);
	free(p);
	free(out);
	return 0;
}
