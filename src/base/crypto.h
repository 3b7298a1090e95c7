/* crypto.h - the few primitives that we use, all of them GnuTLS's.
 *
 * Contexts belong to one thread at a time. Secrets are wiped by the close functions.
 */
#pragma once
#include "base/err.h"
#include "base/cleanup.h"

#define SHA256_BYTES      32
#define MD5_BYTES         16
#define KEY_BYTES         32 /* AES-256 */
#define NONCE_BYTES       12 /* SP 800-38D: 96 bit nonces, random here */
#define TAG_BYTES         16
#define SIGN_PUBLIC_BYTES 32 /* RFC 8032 Ed25519 */
#define SIGN_SECRET_BYTES 32
#define SIGNATURE_BYTES   64

enum hash_kind { HASH_SHA256, HASH_MD5, HASH_SHA1 };

struct hash; /* opaque; a digest being computed */
/* NULL: ERR_MEMORY, or ERR_INTERNAL (GnuTLS will not). hash_close: NULL is fine. */
must_check
struct hash *hash_open(enum hash_kind kind, struct err *e);
/* N more bytes. It can't fail, as hash_end can't: a wrong digest would be worse than an end
 * (abort). */
void hash_add(struct hash *h, const void *p, size_t n);
/* Write the digest (32, 16 or 20 bytes) and start afresh. */
void hash_end(struct hash *h, uint8_t *out);
/* A second context with the same state, or NULL (ERR_MEMORY). */
must_check
struct hash *hash_copy(const struct hash *h, struct err *e);
void hash_close(struct hash *h);
CLEANUP(struct hash, hash_close)

/* One call; HMAC is RFC 2104. These can't fail for the algorithms above (asserted). */
void sha256(const void *p, size_t n, uint8_t out[static SHA256_BYTES]);
void md5(const void *p, size_t n, uint8_t out[static MD5_BYTES]);
void hmac_sha256(
    const void *key, size_t key_len, const void *p, size_t n, uint8_t out[static SHA256_BYTES]);

/* AES-256-GCM (SP 800-38D) under one key, which is copied. NULL and -1: ERR_MEMORY or ERR_INTERNAL
 * but for what is said. */
struct aead;
must_check
struct aead *aead_open(const uint8_t key[static KEY_BYTES], struct err *e);
/* OUT gets N + TAG_BYTES bytes. NONCE must be new for every call under one key. */
must_check
int aead_seal(struct aead *a, const uint8_t nonce[static NONCE_BYTES], const void *ad,
    size_t ad_len, const void *plain, size_t n, uint8_t *out, struct err *e);
/* SEALED has N bytes, tag included; OUT gets N - TAG_BYTES. ERR_FORGED if it does not open;
 * OUT's content is then undefined and must not be used. */
must_check
int aead_unseal(struct aead *a, const uint8_t nonce[static NONCE_BYTES], const void *ad,
    size_t ad_len, const uint8_t *sealed, size_t n, void *out, struct err *e);
void aead_close(struct aead *a);
CLEANUP(struct aead, aead_close)

/* Ed25519 (RFC 8032). A secret is the 32 byte seed. -1: ERR_INTERNAL or ERR_MEMORY. */
must_check
int sign_generate(uint8_t secret[static SIGN_SECRET_BYTES],
    uint8_t public[static SIGN_PUBLIC_BYTES], struct err *e);
must_check
int sign(const uint8_t secret[static SIGN_SECRET_BYTES],
    const uint8_t public[static SIGN_PUBLIC_BYTES], const void *p, size_t n,
    uint8_t out[static SIGNATURE_BYTES], struct err *e);
/* ERR_FORGED if the signature is not PUBLIC's over these bytes. */
must_check
int sign_check(const uint8_t public[static SIGN_PUBLIC_BYTES], const void *p, size_t n,
    const uint8_t signature[static SIGNATURE_BYTES], struct err *e);

/* Equal, in time that does not depend on the content. */
bool same_secret(const void *a, const void *b, size_t n);
/* Zero N bytes so that the compiler keeps it. */
void wipe(void *p, size_t n);
/* Memory that is locked against swapping, excluded from core dumps, zeroed. NULL: ERR_MEMORY. */
must_check
void *secret_alloc(size_t n, struct err *e);
void secret_free(void *p, size_t n); /* wiped first; NULL is fine */

/* RFC 4648, 4: base64 with its padding, appended to OUT; and decoded, appended to OUT, else
 * ERR_BAD, or what has become of OUT. */
struct buf;
void base64_text(struct buf *out, const void *p, size_t n);
must_check
int base64_parse(const char *text, size_t n, struct buf *out, struct err *e);
