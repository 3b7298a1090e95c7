/* crypto.c - see crypto.h. The only file that knows GnuTLS's primitives. */
#include "base/crypto.h"
#include "base/buf.h"

#include <gnutls/abstract.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* For calls that fail only by our own mistake: going on with a wrong digest would be worse. */
static void
surely(int rc)
{
	if (rc < 0)
		abort();
}

static int
err_gnutls(struct err *e, int rc, const char *what)
{
	return err_set(e, rc == GNUTLS_E_MEMORY_ERROR ? ERR_MEMORY : ERR_INTERNAL, "%s: %s", what,
	    gnutls_strerror(rc));
}

/* GnuTLS's type for input has no const. */
static gnutls_datum_t
datum(const void *p, size_t n)
{
	return (gnutls_datum_t){ .data = (unsigned char *)(uintptr_t)p, .size = (unsigned)n };
}

/* Hashes */

struct hash {
	gnutls_hash_hd_t state;
};

static gnutls_digest_algorithm_t
digest_of(enum hash_kind kind)
{
	switch (kind) {
	case HASH_SHA256:
		return GNUTLS_DIG_SHA256;
	case HASH_MD5:
		return GNUTLS_DIG_MD5;
	case HASH_SHA1:
		return GNUTLS_DIG_SHA1;
	}
	abort();
}

struct hash *
hash_open(enum hash_kind kind, struct err *e)
{
	_cleanup_(hash_closep) struct hash *h = calloc(1, sizeof(*h));
	int rc;

	if (!h) {
		err_set(e, ERR_MEMORY, "no memory for a hash");
		return NULL;
	}
	rc = gnutls_hash_init(&h->state, digest_of(kind));
	if (rc < 0) {
		h->state = NULL;
		err_gnutls(e, rc, "hash");
		return NULL;
	}
	return take(&h);
}

void
hash_add(struct hash *h, const void *p, size_t n)
{
	if (n)
		surely(gnutls_hash(h->state, p, n));
}

void
hash_end(struct hash *h, uint8_t *out)
{
	gnutls_hash_output(h->state, out);
}

struct hash *
hash_copy(const struct hash *h, struct err *e)
{
	_cleanup_(hash_closep) struct hash *copy = calloc(1, sizeof(*copy));

	if (copy)
		copy->state = gnutls_hash_copy(h->state);
	if (!copy || !copy->state) {
		err_set(e, ERR_MEMORY, "no memory for a hash");
		return NULL;
	}
	return take(&copy);
}

void
hash_close(struct hash *h)
{
	if (!h)
		return;
	if (h->state)
		gnutls_hash_deinit(h->state, NULL);
	free(h);
}

void
sha256(const void *p, size_t n, uint8_t out[static SHA256_BYTES])
{
	surely(gnutls_hash_fast(GNUTLS_DIG_SHA256, n ? p : "", n, out));
}

void
md5(const void *p, size_t n, uint8_t out[static MD5_BYTES])
{
	surely(gnutls_hash_fast(GNUTLS_DIG_MD5, n ? p : "", n, out));
}

void
hmac_sha256(
    const void *key, size_t key_len, const void *p, size_t n, uint8_t out[static SHA256_BYTES])
{
	surely(
	    gnutls_hmac_fast(GNUTLS_MAC_SHA256, key_len ? key : "", key_len, n ? p : "", n, out));
}

/* AES-256-GCM */

struct aead {
	gnutls_aead_cipher_hd_t cipher;
};

struct aead *
aead_open(const uint8_t key[static KEY_BYTES], struct err *e)
{
	_cleanup_(aead_closep) struct aead *a = calloc(1, sizeof(*a));
	gnutls_datum_t k = datum(key, KEY_BYTES);
	int rc;

	if (!a) {
		err_set(e, ERR_MEMORY, "no memory for a cipher");
		return NULL;
	}
	rc = gnutls_aead_cipher_init(&a->cipher, GNUTLS_CIPHER_AES_256_GCM, &k);
	if (rc < 0) {
		a->cipher = NULL;
		err_gnutls(e, rc, "cipher");
		return NULL;
	}
	return take(&a);
}

int
aead_seal(struct aead *a, const uint8_t nonce[static NONCE_BYTES], const void *ad, size_t ad_len,
    const void *plain, size_t n, uint8_t *out, struct err *e)
{
	size_t out_len = n + TAG_BYTES;
	int rc = gnutls_aead_cipher_encrypt(
	    a->cipher, nonce, NONCE_BYTES, ad, ad_len, TAG_BYTES, plain, n, out, &out_len);

	if (rc < 0)
		return err_gnutls(e, rc, "seal");
	return 0;
}

int
aead_unseal(struct aead *a, const uint8_t nonce[static NONCE_BYTES], const void *ad, size_t ad_len,
    const uint8_t *sealed, size_t n, void *out, struct err *e)
{
	size_t out_len = n - TAG_BYTES;
	uint8_t none[TAG_BYTES]; /* an empty plaintext may come with a NULL out */
	int rc;

	if (n < TAG_BYTES)
		return err_set(e, ERR_FORGED, "sealed bytes cut short");
	rc = gnutls_aead_cipher_decrypt(a->cipher, nonce, NONCE_BYTES, ad, ad_len, TAG_BYTES,
	    sealed, n, out ? out : none, &out_len);
	if (rc == GNUTLS_E_DECRYPTION_FAILED)
		return err_set(e, ERR_FORGED, "sealed bytes do not open");
	if (rc < 0)
		return err_gnutls(e, rc, "unseal");
	return 0;
}

void
aead_close(struct aead *a)
{
	if (!a)
		return;
	if (a->cipher)
		gnutls_aead_cipher_deinit(a->cipher);
	free(a);
}

/* Ed25519 */

static void
wipe_datum(gnutls_datum_t *d)
{
	if (!d->data)
		return;
	wipe(d->data, d->size);
	gnutls_free(d->data);
}

static void
privkey_deinitp(gnutls_privkey_t *k)
{
	if (*k)
		gnutls_privkey_deinit(*k);
}

static void
pubkey_deinitp(gnutls_pubkey_t *k)
{
	if (*k)
		gnutls_pubkey_deinit(*k);
}

static int
export_pair(gnutls_privkey_t key, uint8_t *secret, uint8_t *public, struct err *e)
{
	_cleanup_(wipe_datum) gnutls_datum_t x = { 0 };
	_cleanup_(wipe_datum) gnutls_datum_t y = { 0 }; /* stays empty for this curve */
	_cleanup_(wipe_datum) gnutls_datum_t k = { 0 };
	gnutls_ecc_curve_t curve;
	int rc = gnutls_privkey_export_ecc_raw2(key, &curve, &x, &y, &k, 0);

	if (rc < 0)
		return err_gnutls(e, rc, "signing key");
	if (curve != GNUTLS_ECC_CURVE_ED25519 || x.size != SIGN_PUBLIC_BYTES ||
	    k.size != SIGN_SECRET_BYTES)
		return err_set(e, ERR_INTERNAL, "signing key of %u bytes", k.size);
	memcpy(secret, k.data, SIGN_SECRET_BYTES);
	memcpy(public, x.data, SIGN_PUBLIC_BYTES);
	return 0;
}

int
sign_generate(uint8_t secret[static SIGN_SECRET_BYTES], uint8_t public[static SIGN_PUBLIC_BYTES],
    struct err *e)
{
	_cleanup_(privkey_deinitp) gnutls_privkey_t key = NULL;
	int rc = gnutls_privkey_init(&key);

	if (rc >= 0)
		rc = gnutls_privkey_generate(key, GNUTLS_PK_EDDSA_ED25519,
		    GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_ED25519), 0);
	if (rc < 0)
		return err_gnutls(e, rc, "signing key");
	return export_pair(key, secret, public, e);
}

int
sign(const uint8_t secret[static SIGN_SECRET_BYTES], const uint8_t public[static SIGN_PUBLIC_BYTES],
    const void *p, size_t n, uint8_t out[static SIGNATURE_BYTES], struct err *e)
{
	_cleanup_(privkey_deinitp) gnutls_privkey_t key = NULL;
	_cleanup_(wipe_datum) gnutls_datum_t signature = { 0 };
	gnutls_datum_t x = datum(public, SIGN_PUBLIC_BYTES), k = datum(secret, SIGN_SECRET_BYTES);
	gnutls_datum_t data = datum(p, n);
	int rc = gnutls_privkey_init(&key);

	if (n > UINT32_MAX)
		return err_set(e, ERR_TOO_BIG, "%zu bytes to sign", n);
	if (rc >= 0)
		rc = gnutls_privkey_import_ecc_raw(key, GNUTLS_ECC_CURVE_ED25519, &x, NULL, &k);
	if (rc >= 0)
		rc = gnutls_privkey_sign_data2(
		    key, GNUTLS_SIGN_EDDSA_ED25519, 0, &data, &signature);
	if (rc < 0)
		return err_gnutls(e, rc, "sign");
	if (signature.size != SIGNATURE_BYTES)
		return err_set(e, ERR_INTERNAL, "a signature of %u bytes", signature.size);
	memcpy(out, signature.data, SIGNATURE_BYTES);
	return 0;
}

int
sign_check(const uint8_t public[static SIGN_PUBLIC_BYTES], const void *p, size_t n,
    const uint8_t signature[static SIGNATURE_BYTES], struct err *e)
{
	_cleanup_(pubkey_deinitp) gnutls_pubkey_t key = NULL;
	gnutls_datum_t x = datum(public, SIGN_PUBLIC_BYTES), data = datum(p, n);
	gnutls_datum_t s = datum(signature, SIGNATURE_BYTES);
	int rc = gnutls_pubkey_init(&key);

	if (n > UINT32_MAX)
		return err_set(e, ERR_TOO_BIG, "%zu signed bytes", n);
	if (rc < 0)
		return err_gnutls(e, rc, "signature");
	rc = gnutls_pubkey_import_ecc_raw(key, GNUTLS_ECC_CURVE_ED25519, &x, NULL);
	if (rc >= 0)
		rc = gnutls_pubkey_verify_data2(key, GNUTLS_SIGN_EDDSA_ED25519, 0, &data, &s);
	if (rc == GNUTLS_E_MEMORY_ERROR)
		return err_gnutls(e, rc, "signature");
	if (rc < 0) /* whatever GnuTLS disliked about it */
		return err_set(e, ERR_FORGED, "the signature does not match");
	return 0;
}

/* Secrets */

bool
same_secret(const void *a, const void *b, size_t n)
{
	return gnutls_memcmp(a, b, n) == 0;
}

void
wipe(void *p, size_t n)
{
	if (n)
		explicit_bzero(p, n);
}

/* Whole pages: locking and dumping know nothing smaller. */
static size_t
whole_pages(size_t n)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	return (n + !n + page - 1) / page * page;
}

void *
secret_alloc(size_t n, struct err *e)
{
	size_t size = whole_pages(n);
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED) {
		err_set(e, ERR_MEMORY, "no memory for a secret");
		return NULL;
	}
	/* RLIMIT_MEMLOCK may forbid it; serving without is better than not serving. */
	if (mlock(p, size) < 0)
		(void)0;
	if (madvise(p, size, MADV_DONTDUMP) < 0)
		(void)0;
	return p;
}

void
secret_free(void *p, size_t n)
{
	if (!p)
		return;
	wipe(p, n);
	munmap(p, whole_pages(n));
}

/* Base64 */

static const char base64_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void
base64_text(struct buf *out, const void *p, size_t n)
{
	const uint8_t *b = p;

	for (size_t i = 0; i < n; i += 3) {
		uint32_t v = (uint32_t)b[i] << 16;
		char text[4];

		if (i + 1 < n)
			v |= (uint32_t)b[i + 1] << 8;
		if (i + 2 < n)
			v |= b[i + 2];
		text[0] = base64_digits[v >> 18];
		text[1] = base64_digits[v >> 12 & 63];
		text[2] = i + 1 < n ? base64_digits[v >> 6 & 63] : '=';
		text[3] = i + 2 < n ? base64_digits[v & 63] : '=';
		buf_add(out, text, sizeof(text));
	}
}

static int
base64_digit(char c)
{
	const char *at = c ? strchr(base64_digits, c) : NULL;

	return at ? (int)(at - base64_digits) : -1;
}

/* Decode four digits, PADDED of them '='; -1 unless they are what base64_text would write. */
static int
base64_group(const char *text, unsigned padded, uint8_t out[static 3])
{
	uint32_t v = 0;

	for (unsigned i = 0; i < 4; i++) {
		int digit = i < 4 - padded ? base64_digit(text[i]) : 0;

		if (digit < 0)
			return -1;
		v = v << 6 | (uint32_t)digit;
	}
	if (v & ((1u << 8 * padded) - 1))
		return -1;
	out[0] = (uint8_t)(v >> 16), out[1] = (uint8_t)(v >> 8), out[2] = (uint8_t)v;
	return 0;
}

int
base64_parse(const char *text, size_t n, struct buf *out, struct err *e)
{
	size_t before = out->len;

	if (n % 4)
		return err_set(e, ERR_BAD, "base64 of %zu characters", n);
	for (size_t i = 0; i < n; i += 4) {
		unsigned padded = 0;
		uint8_t three[3];

		if (i + 4 == n && text[n - 1] == '=')
			padded = text[n - 2] == '=' ? 2 : 1;
		if (base64_group(text + i, padded, three) < 0) {
			out->len = out->failed ? 0 : before;
			return err_set(e, ERR_BAD, "not base64 near character %zu", i + 1);
		}
		buf_add(out, three, 3 - padded);
		wipe(three, sizeof(three));
	}
	return buf_check(out, e);
}
