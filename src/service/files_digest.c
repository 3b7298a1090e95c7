/* files_digest.c - the MD5 that S3 calls an ETag, computed while a body comes in.
 *
 * MD5 is the slowest step of a large upload. So from DIGEST_THREAD_FROM bytes on it runs on a thread
 * of its own, behind a ring of buffers, while the caller's thread seals and stores the same bytes.
 * There are at most HELPERS_MAX such threads; a body that finds none left is digested in place.
 */
#include "service/files_internal.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define DIGEST_THREAD_FROM ((uint64_t)1 << 20)
#define BUFFER_BYTES       ((size_t)256 << 10)
#define BUFFERS            4
#define HELPERS_MAX        32
#define STACK_BYTES        ((size_t)128 << 10)

struct helper {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct hash *hash;
	uint64_t filled; /* buffers handed over, ever */
	uint64_t done;   /* and digested */
	bool is_ending;
	size_t len[BUFFERS];
	size_t open_len; /* of the buffer being filled: the caller's alone */
	uint8_t bytes[BUFFERS][BUFFER_BYTES];
};

struct digest {
	struct hash *hash;
	uint64_t total;
	struct helper *helper; /* NULL: digested in place */
	bool asked;            /* for a helper, once */
};

static _Atomic unsigned helpers;

static void *
help(void *arg)
{
	struct helper *h = arg;

	pthread_mutex_lock(&h->lock);
	for (;;) {
		while (h->done == h->filled && !h->is_ending)
			pthread_cond_wait(&h->changed, &h->lock);
		if (h->done == h->filled)
			break;

		size_t i = h->done % BUFFERS;

		pthread_mutex_unlock(&h->lock);
		hash_add(h->hash, h->bytes[i], h->len[i]);
		pthread_mutex_lock(&h->lock);
		h->done++;
		pthread_cond_broadcast(&h->changed);
	}
	pthread_mutex_unlock(&h->lock);
	return NULL;
}

static int
start_thread(struct helper *h)
{
	pthread_attr_t a;
	int rc;

	pthread_attr_init(&a);
	pthread_attr_setstacksize(&a, STACK_BYTES);
	rc = pthread_create(&h->thread, &a, help, h);
	pthread_attr_destroy(&a);
	return rc;
}

/* NULL: go on without. */
static struct helper *
helper_start(struct hash *hash)
{
	struct helper *h = NULL;

	if (atomic_fetch_add(&helpers, 1) < HELPERS_MAX)
		h = malloc(sizeof(*h));
	if (!h) {
		atomic_fetch_sub(&helpers, 1);
		return NULL;
	}
	h->hash = hash;
	h->filled = h->done = 0;
	h->is_ending = false;
	h->open_len = 0;
	pthread_mutex_init(&h->lock, NULL);
	pthread_cond_init(&h->changed, NULL);
	if (start_thread(h) == 0)
		return h;
	pthread_cond_destroy(&h->changed);
	pthread_mutex_destroy(&h->lock);
	free(h);
	atomic_fetch_sub(&helpers, 1);
	return NULL;
}

/* Hand over the buffer being filled. The ring has room: helper_add waits for it. */
static void
hand_over(struct helper *h)
{
	if (!h->open_len)
		return;
	pthread_mutex_lock(&h->lock);
	h->len[h->filled % BUFFERS] = h->open_len;
	h->filled++;
	pthread_cond_broadcast(&h->changed);
	pthread_mutex_unlock(&h->lock);
	h->open_len = 0;
}

static void
wait_for_room(struct helper *h, unsigned buffers)
{
	pthread_mutex_lock(&h->lock);
	while (BUFFERS - (h->filled - h->done) < buffers)
		pthread_cond_wait(&h->changed, &h->lock);
	pthread_mutex_unlock(&h->lock);
}

static void
helper_add(struct helper *h, const uint8_t *p, size_t n)
{
	while (n) {
		size_t some = BUFFER_BYTES - h->open_len;

		if (some > n)
			some = n;
		if (!h->open_len)
			wait_for_room(h, 1);
		memcpy(h->bytes[h->filled % BUFFERS] + h->open_len, p, some);
		h->open_len += some;
		p += some;
		n -= some;
		if (h->open_len == BUFFER_BYTES)
			hand_over(h);
	}
}

static void
helper_stop(struct helper *h)
{
	if (!h)
		return;
	pthread_mutex_lock(&h->lock);
	h->is_ending = true;
	pthread_cond_broadcast(&h->changed);
	pthread_mutex_unlock(&h->lock);
	pthread_join(h->thread, NULL);
	pthread_cond_destroy(&h->changed);
	pthread_mutex_destroy(&h->lock);
	free(h);
	atomic_fetch_sub(&helpers, 1);
}

struct digest *
digest_open(struct err *e)
{
	struct digest *d = calloc(1, sizeof(*d));

	if (!d) {
		err_set(e, ERR_MEMORY, "digest: no memory");
		return NULL;
	}
	d->hash = hash_open(HASH_MD5, e);
	if (!d->hash) {
		free(d);
		return NULL;
	}
	return d;
}

void
digest_add(struct digest *d, const void *p, size_t n)
{
	d->total += n;
	if (!d->asked && d->total > DIGEST_THREAD_FROM) {
		d->asked = true;
		d->helper = helper_start(d->hash);
	}
	if (d->helper)
		helper_add(d->helper, p, n);
	else
		hash_add(d->hash, p, n);
}

int
digest_now(struct digest *d, uint8_t out[static MD5_BYTES], struct err *e)
{
	struct hash *copy;

	if (d->helper) {
		hand_over(d->helper);
		wait_for_room(d->helper, BUFFERS);
	}
	copy = hash_copy(d->hash, e);
	if (!copy)
		return -1;
	hash_end(copy, out);
	hash_close(copy);
	return 0;
}

void
digest_close(struct digest *d)
{
	if (!d)
		return;
	helper_stop(d->helper);
	hash_close(d->hash);
	free(d);
}
