/* content_key.c - the keys of chunks, in locked memory, and the names of chunks being written. */
#include "vault/content_internal.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include "base/table.h"

/* --- secrets: 32 bytes each, many to a locked page --- */

#define SLAB_SECRETS 126

struct secret {
	union {
		uint8_t key[KEY_BYTES];
		struct secret *next_free;
	};
};

static struct secret *free_secrets; /* in slabs that are kept for good */
static pthread_mutex_t secrets_lock = PTHREAD_MUTEX_INITIALIZER;

static struct secret *
secret_new(struct err *e)
{
	struct secret *s;

	pthread_mutex_lock(&secrets_lock);
	if (!free_secrets) {
		struct secret *slab = secret_alloc(SLAB_SECRETS * sizeof(*slab), e);

		for (size_t i = 0; slab && i < SLAB_SECRETS; i++) {
			slab[i].next_free = free_secrets;
			free_secrets = &slab[i];
		}
	}
	s = free_secrets;
	if (s)
		free_secrets = s->next_free;
	pthread_mutex_unlock(&secrets_lock);
	return s;
}

static void
secret_put_back(struct secret *s)
{
	wipe(s, sizeof(*s));
	pthread_mutex_lock(&secrets_lock);
	s->next_free = free_secrets;
	free_secrets = s;
	pthread_mutex_unlock(&secrets_lock);
}

/* --- keys --- */

struct content_key {
	_Atomic unsigned refs;
	struct content_key *next; /* the next generation, which thus outlives this one */
	struct vault_id id;
	struct secret *secret;
};

struct content_key *
content_key_new(const struct vault_id *id, const uint8_t data_key[static KEY_BYTES], struct err *e)
{
	struct content_key *k = calloc(1, sizeof(*k));

	if (!k) {
		err_set(e, ERR_MEMORY, "content key: no memory");
		return NULL;
	}
	k->secret = secret_new(e);
	if (!k->secret) {
		free(k);
		return NULL;
	}
	memcpy(k->secret->key, data_key, KEY_BYTES);
	k->id = *id;
	k->refs = 1;
	return k;
}

struct content_key *
content_key_ref(struct content_key *k)
{
	atomic_fetch_add_explicit(&k->refs, 1, memory_order_relaxed);
	return k;
}

void
content_key_unref(struct content_key *k)
{
	while (k && atomic_fetch_sub_explicit(&k->refs, 1, memory_order_acq_rel) == 1) {
		struct content_key *next = k->next;

		secret_put_back(k->secret);
		free(k);
		k = next;
	}
}

const struct vault_id *
content_key_vault(const struct content_key *k)
{
	return &k->id;
}

struct content_key *
content_key_next(struct content_key *k)
{
	struct content_key *next = content_key_new(&k->id, k->secret->key, NULL);

	if (next)
		k->next = content_key_ref(next);
	return next;
}

bool
content_key_is_last(const struct content_key *k)
{
	return atomic_load_explicit(&k->refs, memory_order_acquire) == 1;
}

bool
content_key_matches(const struct content_key *k, const uint8_t data_key[static KEY_BYTES])
{
	return same_secret(k->secret->key, data_key, KEY_BYTES);
}

struct aead *
content_key_aead(const struct content_key *k, struct err *e)
{
	return aead_open(k->secret->key, e);
}

/* --- claims --- */

struct claim {
	struct chunk_name name;
	UT_hash_handle hh;
};

static struct claim *claims;
static pthread_mutex_t claims_lock = PTHREAD_MUTEX_INITIALIZER;

int
content_claim(const struct chunk_name *name, struct err *e)
{
	struct claim *c = calloc(1, sizeof(*c));
	bool is_in;

	if (!c)
		return err_set(e, ERR_MEMORY, "chunk: no memory");
	c->name = *name;
	pthread_mutex_lock(&claims_lock);
	HASH_ADD(hh, claims, name, sizeof(c->name), c);
	is_in = c->hh.tbl;
	pthread_mutex_unlock(&claims_lock);
	if (is_in)
		return 0;
	free(c);
	return err_set(e, ERR_MEMORY, "chunk: no memory");
}

void
content_unclaim(const struct chunk_name *name)
{
	struct claim *c;

	pthread_mutex_lock(&claims_lock);
	HASH_FIND(hh, claims, name, sizeof(*name), c);
	if (c)
		HASH_DEL(claims, c);
	pthread_mutex_unlock(&claims_lock);
	free(c);
}

bool
content_is_claimed(const struct chunk_name *name)
{
	struct claim *c;

	pthread_mutex_lock(&claims_lock);
	HASH_FIND(hh, claims, name, sizeof(*name), c);
	pthread_mutex_unlock(&claims_lock);
	return c;
}
