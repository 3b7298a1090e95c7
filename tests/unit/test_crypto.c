/* Primitives against published vectors, and against whoever touches what they made. */
#include "base/buf.h"
#include "base/crypto.h"
#include "base/id.h"
#include "check.h"

/* Bytes of a hexadecimal TEXT, in a ring of static buffers. */
static const uint8_t *
unhex(const char *text)
{
	static uint8_t ring[8][256];
	static unsigned turn;
	uint8_t *out = ring[turn++ % 8];

	CHECK(strlen(text) / 2 <= sizeof(ring[0]));
	CHECK(hex_parse(text, out, strlen(text) / 2));
	return out;
}

static void
hashes_match_published_vectors(void **state)
{
	static const char md5_abc[] = "900150983cd24fb0d6963f7d28e17f72";
	static const char sha1_abc[] = "a9993e364706816aba3e25717850c26c9cd0d89d";
	static const char sha256_abc[] =
	    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
	static const char sha256_none[] =
	    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
	struct err e = { 0 };
	uint8_t out[32];
	struct hash *h, *copy;

	sha256("abc", 3, out);
	CHECK_BYTES(out, unhex(sha256_abc), 32);
	sha256(NULL, 0, out);
	CHECK_BYTES(out, unhex(sha256_none), 32);
	md5("abc", 3, out);
	CHECK_BYTES(out, unhex(md5_abc), 16);

	h = hash_open(HASH_SHA256, &e);
	hash_add(h, "a", 1);
	copy = hash_copy(h, &e);
	hash_add(h, "bc", 2);
	hash_add(h, NULL, 0);
	hash_end(h, out);
	CHECK_BYTES(out, unhex(sha256_abc), 32);
	hash_end(h, out); /* afresh */
	CHECK_BYTES(out, unhex(sha256_none), 32);
	hash_add(copy, "bc", 2);
	hash_end(copy, out);
	CHECK_BYTES(out, unhex(sha256_abc), 32);
	hash_close(h);
	hash_close(copy);

	h = hash_open(HASH_SHA1, &e);
	hash_add(h, "abc", 3);
	hash_end(h, out);
	CHECK_BYTES(out, unhex(sha1_abc), 20);
	hash_close(h);
	h = hash_open(HASH_MD5, &e);
	hash_add(h, "abc", 3);
	hash_end(h, out);
	CHECK_BYTES(out, unhex(md5_abc), 16);
	hash_close(h);
	hash_close(NULL);
}

/* RFC 4231, test cases 1, 2 and 6. */
static void
hmac_matches_rfc_4231(void **state)
{
	uint8_t out[32], key[131];

	memset(key, 0x0b, 20);
	hmac_sha256(key, 20, "Hi There", 8, out);
	CHECK_BYTES(
	    out, unhex("b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"), 32);
	hmac_sha256("Jefe", 4, "what do ya want for nothing?", 28, out);
	CHECK_BYTES(
	    out, unhex("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"), 32);
	memset(key, 0xaa, sizeof(key));
	hmac_sha256(
	    key, sizeof(key), "Test Using Larger Than Block-Size Key - Hash Key First", 54, out);
	CHECK_BYTES(
	    out, unhex("60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"), 32);
}

/* The vectors for 256 bit keys in the GCM specification that NIST's SP 800-38D refers to. */
static void
aes_gcm_matches_published_vectors(void **state)
{
	static const struct {
		const char *key, *nonce, *ad, *plain, *sealed;
	} v[] = {
		{ "0000000000000000000000000000000000000000000000000000000000000000",
		    "000000000000000000000000", "", "", "530f8afbc74536b9a963b4f1c4cb738b" },
		{ "0000000000000000000000000000000000000000000000000000000000000000",
		    "000000000000000000000000", "", "00000000000000000000000000000000",
		    "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919" },
		{ "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
		    "cafebabefacedbaddecaf888", "feedfacedeadbeeffeedfacedeadbeefabaddad2",
		    "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
		    "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
		    "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
		    "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662"
		    "76fc6ece0f4e1768cddf8853bb2d551b" },
	};
	struct err e = { 0 };

	for (size_t i = 0; i < ARRAY_LEN(v); i++) {
		size_t n = strlen(v[i].plain) / 2, ad_len = strlen(v[i].ad) / 2;
		const uint8_t *nonce = unhex(v[i].nonce), *ad = unhex(v[i].ad);
		struct aead *a = aead_open(unhex(v[i].key), &e);
		uint8_t out[128], back[128];

		CHECK(a != NULL);
		CHECK_OK(aead_seal(a, nonce, ad, ad_len, unhex(v[i].plain), n, out, &e), &e);
		CHECK_BYTES(out, unhex(v[i].sealed), n + TAG_BYTES);
		CHECK_OK(aead_unseal(a, nonce, ad, ad_len, out, n + TAG_BYTES, back, &e), &e);
		CHECK_BYTES(back, unhex(v[i].plain), n);
		aead_close(a);
	}
}

static void
sealed_bytes_that_were_touched_do_not_open(void **state)
{
	static const uint8_t key[KEY_BYTES] = { 1 }, nonce[NONCE_BYTES] = { 2 };
	uint8_t sealed[5 + TAG_BYTES], plain[5];
	struct err e = { 0 };
	struct aead *a = aead_open(key, &e);

	CHECK_OK(aead_seal(a, nonce, "ad", 2, "hello", 5, sealed, &e), &e);
	CHECK_OK(aead_unseal(a, nonce, "ad", 2, sealed, sizeof(sealed), plain, &e), &e);
	for (size_t bit = 0; bit < 8 * sizeof(sealed); bit++) {
		sealed[bit / 8] ^= (uint8_t)(1 << bit % 8);
		CHECK(aead_unseal(a, nonce, "ad", 2, sealed, sizeof(sealed), plain, &e) == -1);
		CHECK(e.kind == ERR_FORGED);
		sealed[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	for (size_t n = 0; n < sizeof(sealed); n++)
		CHECK(aead_unseal(a, nonce, "ad", 2, sealed, n, plain, &e) == -1 &&
		    e.kind == ERR_FORGED);
	CHECK(aead_unseal(a, nonce, "aD", 2, sealed, sizeof(sealed), plain, &e) == -1);
	aead_close(a);
	aead_close(NULL);
	/* nothing at all, sealed and opened */
	a = aead_open(key, &e);
	CHECK_OK(aead_seal(a, nonce, NULL, 0, NULL, 0, sealed, &e), &e);
	CHECK_OK(aead_unseal(a, nonce, NULL, 0, sealed, TAG_BYTES, NULL, &e), &e);
	aead_close(a);
}

/* RFC 8032, section 7.1, tests 1 to 3. */
static const struct {
	const char *secret, *public, *message, *signature;
} ed25519[] = {
	{ "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
	    "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
	    "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e3970"
	    "1cf9b46bd25bf5f0595bbe24655141438e7a100b" },
	{ "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
	    "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
	    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613"
	    "d0f11d8c387b2eaeb4302aeeb00d291612bb0c00" },
	{ "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
	    "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
	    "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760"
	    "984dc6594a7c15e9716ed28dc027beceea1ec40a" },
};

static void
ed25519_matches_rfc_8032(void **state)
{
	struct err e = { 0 };

	for (size_t i = 0; i < ARRAY_LEN(ed25519); i++) {
		const uint8_t *secret = unhex(ed25519[i].secret),
		              *public = unhex(ed25519[i].public);
		const uint8_t *m = unhex(ed25519[i].message);
		size_t n = strlen(ed25519[i].message) / 2;
		uint8_t out[SIGNATURE_BYTES];

		CHECK_OK(sign(secret, public, m, n, out, &e), &e);
		CHECK_BYTES(out, unhex(ed25519[i].signature), SIGNATURE_BYTES);
		CHECK_OK(sign_check(public, m, n, out, &e), &e);
		for (size_t bit = 0; bit < 8 * SIGNATURE_BYTES; bit += 13) {
			out[bit / 8] ^= (uint8_t)(1 << bit % 8);
			CHECK(sign_check(public, m, n, out, &e) == -1 && e.kind == ERR_FORGED);
			out[bit / 8] ^= (uint8_t)(1 << bit % 8);
		}
		CHECK(sign_check(public, "x", 1, out, &e) == -1 && e.kind == ERR_FORGED);
	}
}

static void
a_generated_key_signs(void **state)
{
	uint8_t secret[SIGN_SECRET_BYTES], public[SIGN_PUBLIC_BYTES], other[SIGN_PUBLIC_BYTES];
	uint8_t signature[SIGNATURE_BYTES], junk[SIGN_PUBLIC_BYTES];
	struct err e = { 0 };

	CHECK_OK(sign_generate(secret, other, &e), &e);
	CHECK_OK(sign_generate(secret, public, &e), &e);
	CHECK(memcmp(public, other, sizeof(public)) != 0);
	CHECK_OK(sign(secret, public, "bytes", 5, signature, &e), &e);
	CHECK_OK(sign_check(public, "bytes", 5, signature, &e), &e);
	CHECK(sign_check(other, "bytes", 5, signature, &e) == -1 && e.kind == ERR_FORGED);
	memset(junk, 0xff, sizeof(junk)); /* no point of the curve */
	CHECK(sign_check(junk, "bytes", 5, signature, &e) == -1 && e.kind == ERR_FORGED);
}

static void
secret_memory_is_zeroed_and_comparable(void **state)
{
	struct err e = { 0 };
	size_t sizes[] = { 0, 1, 32, 4096, 5000 };

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		uint8_t *p = secret_alloc(sizes[i], &e);

		CHECK(p != NULL);
		for (size_t k = 0; k < sizes[i]; k++)
			CHECK(p[k] == 0);
		memset(p, 1, sizes[i]);
		wipe(p, sizes[i]);
		CHECK(!sizes[i] || p[sizes[i] - 1] == 0);
		secret_free(p, sizes[i]);
	}
	secret_free(NULL, 5);
	CHECK(same_secret("abc", "abc", 3) && !same_secret("abc", "abd", 3));
	CHECK(same_secret("abc", "xyz", 0));
}

/* RFC 4648, section 10. */
static void
base64_matches_rfc_4648(void **state)
{
	static const char *const texts[] = { "", "Zg==", "Zm8=", "Zm9v",
		"Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy" };
	static const char *const bad[] = { "Z", "Zg=", "Zg",
		"Zh==", "Zm9=", "====", "Z===", "Zg==Zg==", "Zm9v\n", "Zm9-", "Z=9v" };
	_cleanup_buf_ struct buf b = BUF_INIT(0);
	struct err e = { 0 };

	for (size_t n = 0; n < ARRAY_LEN(texts); n++) {
		buf_clear(&b);
		base64_text(&b, "foobar", n);
		CHECK_STR(buf_str(&b), texts[n]);
		buf_clear(&b);
		CHECK_OK(base64_parse(texts[n], strlen(texts[n]), &b, &e), &e);
		CHECK(b.len == n && memcmp(buf_str(&b), "foobar", n) == 0);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		buf_clear(&b);
		buf_add_str(&b, "kept");
		CHECK(base64_parse(bad[i], strlen(bad[i]), &b, &e) == -1 && e.kind == ERR_BAD);
		CHECK_STR(buf_str(&b), "kept");
	}
}

#define TEST(name) cmocka_unit_test(name)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(hashes_match_published_vectors),
		TEST(hmac_matches_rfc_4231),
		TEST(aes_gcm_matches_published_vectors),
		TEST(sealed_bytes_that_were_touched_do_not_open),
		TEST(ed25519_matches_rfc_8032),
		TEST(a_generated_key_signs),
		TEST(secret_memory_is_zeroed_and_comparable),
		TEST(base64_matches_rfc_4648),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
