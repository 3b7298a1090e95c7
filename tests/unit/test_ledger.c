/* Promise provable: a certificate holds offline, and no byte of it can be changed. */
#include "check.h"
#include "base/fs.h"
#include "base/host.h"
#include "ledger/certificate.h"
#include "ledger/sealing.h"

struct region {
	const char *name;
	uint8_t secret[SIGN_SECRET_BYTES], public[SIGN_PUBLIC_BYTES];
};

static struct region source = { .name = "cn-bj" }, destination = { .name = "sg" };

static int
make_keys(void **state)
{
	struct err e = { 0 };

	(void)state;
	CHECK_OK(sign_generate(source.secret, source.public, &e), &e);
	CHECK_OK(sign_generate(destination.secret, destination.public, &e), &e);
	return 0;
}

/* RFC 6962's tree over the eight inputs that its reference implementation tests with. */
static void
roots_are_those_of_the_reference_vectors(void **state)
{
	static const char *const inputs[] = { "", "00", "10", "2021", "3031", "40414243",
		"5051525354555657", "606162636465666768696a6b6c6d6e6f" };
	static const char *const roots[] = {
		"6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
		"fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
		"aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
		"d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
		"4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
		"76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
		"ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
		"5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"
	};
	uint8_t leaves[8][SHA256_BYTES], root[SHA256_BYTES], bytes[16];
	char hex[2 * SHA256_BYTES + 1];

	(void)state;
	for (size_t i = 0; i < 8; i++) {
		size_t n = strlen(inputs[i]) / 2;

		CHECK(hex_parse(inputs[i], bytes, n));
		merkle_leaf(bytes, n, leaves[i]);
		merkle_root((const uint8_t(*)[SHA256_BYTES])leaves, i + 1, root);
		hex_text(root, sizeof root, hex);
		CHECK_STR(hex, roots[i]);
	}
}

static void
every_leaf_is_proved_and_no_other(void **state)
{
	uint8_t leaves[70][SHA256_BYTES], root[SHA256_BYTES];
	struct merkle_proof p;
	struct err e;

	(void)state;
	for (size_t i = 0; i < 70; i++)
		merkle_leaf(&i, sizeof i, leaves[i]);
	for (size_t n = 1; n <= 70; n++) {
		merkle_root((const uint8_t(*)[SHA256_BYTES])leaves, n, root);
		for (size_t i = 0; i < n; i++) {
			merkle_prove((const uint8_t(*)[SHA256_BYTES])leaves, n, i, &p);
			CHECK_OK(merkle_check(leaves[i], &p, root, &e), &e);
			CHECK(merkle_check(leaves[(i + 1) % 70], &p, root, &e) < 0);
			p.index = (i + 1) % n;
			CHECK(n == 1 || merkle_check(leaves[i], &p, root, &e) < 0);
			p.index = i;
			p.size = n + 70;
			CHECK(merkle_check(leaves[i], &p, root, &e) < 0);
		}
	}
}

static void
make_proof(struct proof *p, bool with_erasure)
{
	struct move_statement s = { .from = "cn-bj",
		.to = "sg",
		.epoch = 2,
		.attempt = 1,
		.time_ms = 1900000000123,
		.n_vaults = 2 };
	struct erasure_statement x = { .region = "cn-bj",
		.to = "sg",
		.epoch = 2,
		.records = 41,
		.chunks = 3,
		.time_ms = 1900000009456 };
	_cleanup_buf_ struct buf text = BUF_INIT(STATEMENT_MAX), erasure = BUF_INIT(STATEMENT_MAX);
	uint8_t leaves[3][SHA256_BYTES];
	struct err e = { 0 };

	memset(p, 0, sizeof *p);
	account_random(&s.account);
	x.account = s.account;
	s.vaults[0].service = SERVICE_PROFILE;
	s.vaults[0].version = 1;
	s.vaults[1].service = SERVICE_FILES;
	s.vaults[1].version = 812;
	host_random(s.vaults[1].root, SHA256_BYTES);
	move_statement_text(&s, &text);
	snprintf(p->statement, sizeof p->statement, "%s", buf_str(&text));
	host_random(leaves, sizeof leaves);
	merkle_leaf(p->statement, strlen(p->statement), leaves[1]);
	CHECK_OK(note_sign(NOTE_SENT, "cn-bj", (const uint8_t(*)[SHA256_BYTES])leaves, 3, s.time_ms,
	             source.secret, source.public, &p->sent.note, &e),
	    &e);
	merkle_prove((const uint8_t(*)[SHA256_BYTES])leaves, 3, 1, &p->sent.proof);
	CHECK_OK(note_sign(NOTE_RECEIVED, "sg", (const uint8_t(*)[SHA256_BYTES])leaves + 1, 1,
	             s.time_ms + 5, destination.secret, destination.public, &p->received.note, &e),
	    &e);
	merkle_prove((const uint8_t(*)[SHA256_BYTES])leaves + 1, 1, 0, &p->received.proof);
	p->sent.is_there = p->received.is_there = true;
	if (!with_erasure)
		return;
	erasure_statement_text(&x, &erasure);
	snprintf(p->erasure, sizeof p->erasure, "%s", buf_str(&erasure));
	merkle_leaf(p->erasure, strlen(p->erasure), leaves[2]);
	CHECK_OK(note_sign(NOTE_ERASED, "cn-bj", (const uint8_t(*)[SHA256_BYTES])leaves, 3,
	             x.time_ms, source.secret, source.public, &p->erased.note, &e),
	    &e);
	merkle_prove((const uint8_t(*)[SHA256_BYTES])leaves, 3, 2, &p->erased.proof);
	p->erased.is_there = true;
}

static bool
key_of(void *arg, const char *region, uint8_t out[static SIGN_PUBLIC_BYTES])
{
	(void)arg;
	if (strcmp(region, source.name) == 0)
		memcpy(out, source.public, SIGN_PUBLIC_BYTES);
	else if (strcmp(region, destination.name) == 0)
		memcpy(out, destination.public, SIGN_PUBLIC_BYTES);
	else
		return false;
	return true;
}

static void
a_certificate_holds_and_survives_storage(void **state)
{
	_cleanup_buf_ struct buf stored = BUF_INIT(16384);
	struct proof p, again;
	struct certificate c;
	struct err e = { 0 };

	(void)state;
	make_proof(&p, true);
	proof_put(&stored, &p);
	CHECK_OK(proof_read((struct span){ stored.data, stored.len }, &again, &e), &e);
	json_t *json = certificate_json(&again);
	CHECK_OK(certificate_check(json, key_of, NULL, &c, &e), &e);
	CHECK(c.is_erased && c.erasure.records == 41 && c.move.vaults[1].version == 812);
	json_decref(json);
	make_proof(&p, false);
	json = certificate_json(&p);
	CHECK_OK(certificate_check(json, key_of, NULL, &c, &e), &e);
	CHECK(!c.is_erased);
	json_decref(json);
}

/* Change each character of the file in turn: what still parses must be refused, or say the same. */
static void
no_character_of_a_certificate_can_be_changed(void **state)
{
	struct certificate was, now;
	struct proof p;
	struct err e = { 0 };

	(void)state;
	make_proof(&p, true);
	json_t *json = certificate_json(&p);
	char *text = json_dumps(json, JSON_COMPACT);
	CHECK_OK(certificate_check(json, key_of, NULL, &was, &e), &e);
	json_decref(json);
	for (size_t i = 0; text[i]; i++) {
		char old = text[i];

		text[i] = old == 'a' ? 'b' : old == '1' ? '2' : old ^ 1;
		json = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
		text[i] = old;
		if (!json)
			continue;
		if (certificate_check(json, key_of, NULL, &now, &e) == 0)
			CHECK(memcmp(&was.move.vaults, &now.move.vaults, sizeof was.move.vaults) ==
			        0 &&
			    account_equal(&was.move.account, &now.move.account) &&
			    was.is_erased == now.is_erased);
		json_decref(json);
	}
	free(text);
}

static void
swapped_roles_and_unknown_regions_are_refused(void **state)
{
	struct certificate c;
	struct sealing other;
	struct proof p;
	struct err e = { 0 };

	(void)state;
	make_proof(&p, true);
	other = p.sent;
	p.sent = p.received;
	p.received = other;
	json_t *json = certificate_json(&p);
	CHECK(certificate_check(json, key_of, NULL, &c, &e) < 0 && e.kind == ERR_FORGED);
	json_decref(json);

	make_proof(&p, true);
	p.received = p.sent;
	json = certificate_json(&p);
	CHECK(certificate_check(json, key_of, NULL, &c, &e) < 0 && e.kind == ERR_FORGED);
	json_decref(json);

	make_proof(&p, false);
	destination.name = "elsewhere";
	json = certificate_json(&p);
	CHECK(certificate_check(json, key_of, NULL, &c, &e) < 0 && e.kind == ERR_MISSING);
	destination.name = "sg";
	json_decref(json);
}

static void
a_certificate_file_is_checked_with_a_folder_of_keys(void **state)
{
	char *dir = check_dir_make(), file[512];
	struct certificate c;
	struct proof p;
	struct err e = { 0 };

	(void)state;
	make_proof(&p, true);
	json_t *json = certificate_json(&p);
	char *text = json_dumps(json, JSON_INDENT(2));
	snprintf(file, sizeof file, "%s/a.json", dir);
	CHECK_OK(fs_write(file, text, strlen(text), 0644, &e), &e);
	CHECK(certificate_check_file(file, dir, &c, &e) < 0 && e.kind == ERR_MISSING);
	CHECK_OK(trust_write(dir, "cn-bj", source.public, &e), &e);
	CHECK_OK(trust_write(dir, "sg", destination.public, &e), &e);
	CHECK_OK(certificate_check_file(file, dir, &c, &e), &e);
	CHECK_OK(trust_write(dir, "sg", source.public, &e), &e);
	CHECK(certificate_check_file(file, dir, &c, &e) < 0 && e.kind == ERR_FORGED);
	CHECK_OK(fs_write(file, text, strlen(text) / 2, 0644, &e), &e);
	CHECK(certificate_check_file(file, dir, &c, &e) < 0 && e.kind == ERR_BAD);
	free(text);
	json_decref(json);
	check_dir_remove(dir);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(roots_are_those_of_the_reference_vectors),
		cmocka_unit_test(every_leaf_is_proved_and_no_other),
		cmocka_unit_test(a_certificate_holds_and_survives_storage),
		cmocka_unit_test(no_character_of_a_certificate_can_be_changed),
		cmocka_unit_test(swapped_roles_and_unknown_regions_are_refused),
		cmocka_unit_test(a_certificate_file_is_checked_with_a_folder_of_keys),
	};

	return cmocka_run_group_tests_name("ledger", tests, make_keys, NULL);
}
