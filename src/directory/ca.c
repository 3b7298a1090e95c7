/* ca.c - see ca.h. */
#include "directory/ca.h"
#include "base/cleanup.h"
#include "base/fs.h"
#include "base/host.h"
#include "base/id.h"

#include <arpa/inet.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#define PEM_BYTES_MAX ((size_t)64 << 10)
#define CA_DAYS       3653
#define DAY_S         86400
#define CLOCK_SLACK_S 3600 /* regions' clocks differ */

typedef gnutls_x509_crt_t crt_t;
typedef gnutls_x509_privkey_t privkey_t;

static void
crt_free(crt_t *c)
{
	if (*c)
		gnutls_x509_crt_deinit(*c);
}

static void
key_free(privkey_t *k)
{
	if (*k)
		gnutls_x509_privkey_deinit(*k);
}

static int
fail(int rc, const char *what, struct err *e)
{
	return err_set(e, rc == GNUTLS_E_MEMORY_ERROR ? ERR_MEMORY : ERR_INTERNAL, "%s: %s", what,
	    gnutls_strerror(rc));
}

static int
join(char *out, size_t size, const char *dir, const char *name, struct err *e)
{
	if (snprintf(out, size, "%s/%s", dir, name) >= (int)size)
		return err_set(e, ERR_BAD, "a path of %zu bytes", strlen(dir));
	return 0;
}

/* Making */

static int
make_key(privkey_t *out, struct err *e)
{
	int rc = gnutls_x509_privkey_init(out);

	if (rc >= 0)
		rc = gnutls_x509_privkey_generate(
		    *out, GNUTLS_PK_ECDSA, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0);
	return rc < 0 ? fail(rc, "making a key", e) : 0;
}

/* What every certificate has. */
static int
make_crt(crt_t *out, privkey_t key, const char *name, unsigned days, struct err *e)
{
	time_t now = (time_t)(host_wall_ms() / 1000);
	uint8_t serial[16], id[64];
	size_t id_len = sizeof(id);
	crt_t c;
	int rc = gnutls_x509_crt_init(out);

	if (rc < 0)
		return fail(rc, "making a certificate", e);
	c = *out;
	host_random(serial, sizeof(serial));
	serial[0] = (serial[0] & 0x7f) | 0x40; /* positive, of full length */
	if ((rc = gnutls_x509_crt_set_version(c, 3)) < 0 ||
	    (rc = gnutls_x509_crt_set_serial(c, serial, sizeof(serial))) < 0 ||
	    (rc = gnutls_x509_crt_set_activation_time(c, now - CLOCK_SLACK_S)) < 0 ||
	    (rc = gnutls_x509_crt_set_expiration_time(c, now + (time_t)days * DAY_S)) < 0 ||
	    (rc = gnutls_x509_crt_set_key(c, key)) < 0 ||
	    (rc = gnutls_x509_crt_get_key_id(c, GNUTLS_KEYID_USE_SHA1, id, &id_len)) < 0 ||
	    (rc = gnutls_x509_crt_set_subject_key_id(c, id, id_len)) < 0)
		return fail(rc, "making a certificate", e);
	rc = gnutls_x509_crt_set_dn_by_oid(
	    c, GNUTLS_OID_X520_COMMON_NAME, 0, name, (unsigned)strlen(name));
	return rc < 0 ? fail(rc, "the certificate's name", e) : 0;
}

static int
sign_crt(crt_t c, crt_t ca, privkey_t ca_key, struct err *e)
{
	uint8_t id[64];
	size_t n = sizeof(id);
	int rc = gnutls_x509_crt_get_subject_key_id(ca, id, &n, NULL);

	if (rc >= 0)
		rc = gnutls_x509_crt_set_authority_key_id(c, id, n);
	if (rc >= 0)
		rc = gnutls_x509_crt_sign2(c, ca, ca_key, GNUTLS_DIG_SHA256, 0);
	return rc < 0 ? fail(rc, "signing a certificate", e) : 0;
}

static int
write_key(const char *path, privkey_t key, struct err *e)
{
	gnutls_datum_t pem = { 0 };
	int rc = gnutls_x509_privkey_export2_pkcs8(
	    key, GNUTLS_X509_FMT_PEM, NULL, GNUTLS_PKCS_PLAIN, &pem);

	if (rc < 0)
		return fail(rc, path, e);
	rc = fs_write(path, pem.data, pem.size, 0600, e);
	gnutls_memset(pem.data, 0, pem.size);
	gnutls_free(pem.data);
	return rc;
}

static int
write_crt(const char *path, crt_t c, struct err *e)
{
	gnutls_datum_t pem = { 0 };
	int rc = gnutls_x509_crt_export2(c, GNUTLS_X509_FMT_PEM, &pem);

	if (rc < 0)
		return fail(rc, path, e);
	rc = fs_write(path, pem.data, pem.size, 0644, e);
	gnutls_free(pem.data);
	return rc;
}

int
ca_create(const char *dir, const char *common_name, struct err *e)
{
	_cleanup_(key_free) privkey_t key = NULL;
	_cleanup_(crt_free) crt_t c = NULL;
	char key_path[PATH_MAX], crt_path[PATH_MAX];
	int rc;

	if (join(key_path, sizeof(key_path), dir, "ca.key", e) < 0 ||
	    join(crt_path, sizeof(crt_path), dir, "ca.pem", e) < 0)
		return -1;
	if (access(key_path, F_OK) == 0 || access(crt_path, F_OK) == 0)
		return err_set(e, ERR_EXISTS, "%s: there is a CA already", dir);
	if (fs_mkdir(dir, 0755, e) < 0 || make_key(&key, e) < 0 ||
	    make_crt(&c, key, common_name, CA_DAYS, e) < 0)
		return -1;
	/* It signs regions, not other authorities. */
	if ((rc = gnutls_x509_crt_set_basic_constraints(c, 1, 0)) < 0 ||
	    (rc = gnutls_x509_crt_set_key_usage(
	         c, GNUTLS_KEY_KEY_CERT_SIGN | GNUTLS_KEY_CRL_SIGN)) < 0)
		return fail(rc, "making a CA", e);
	if (sign_crt(c, c, key, e) < 0 || write_key(key_path, key, e) < 0)
		return -1;
	return write_crt(crt_path, c, e);
}

/* Issuing */

static int
read_ca(const char *dir, crt_t *crt, privkey_t *key, struct err *e)
{
	_cleanup_secret_buf_ struct buf b = BUF_INIT(PEM_BYTES_MAX);
	gnutls_datum_t pem;
	char path[PATH_MAX];
	int rc;

	if (join(path, sizeof(path), dir, "ca.pem", e) < 0 ||
	    fs_read(path, PEM_BYTES_MAX, &b, e) < 0)
		return -1;
	pem = (gnutls_datum_t){ b.data, (unsigned)b.len };
	rc = gnutls_x509_crt_init(crt);
	if (rc >= 0)
		rc = gnutls_x509_crt_import(*crt, &pem, GNUTLS_X509_FMT_PEM);
	if (rc < 0)
		return err_set(e, ERR_BAD, "%s: %s", path, gnutls_strerror(rc));

	buf_clear(&b);
	if (join(path, sizeof(path), dir, "ca.key", e) < 0 ||
	    fs_read(path, PEM_BYTES_MAX, &b, e) < 0)
		return -1;
	pem = (gnutls_datum_t){ b.data, (unsigned)b.len };
	rc = gnutls_x509_privkey_init(key);
	if (rc >= 0)
		rc = gnutls_x509_privkey_import2(*key, &pem, GNUTLS_X509_FMT_PEM, NULL, 0);
	if (rc < 0)
		return err_set(e, ERR_BAD, "%s: %s", path, gnutls_strerror(rc));
	return 0;
}

static int
add_dns(crt_t c, const char *host)
{
	return gnutls_x509_crt_set_subject_alt_name(
	    c, GNUTLS_SAN_DNSNAME, host, (unsigned)strlen(host), GNUTLS_FSAN_APPEND);
}

static int
add_host(crt_t c, const char *host)
{
	uint8_t address[16];

	if (inet_pton(AF_INET, host, address) == 1)
		return gnutls_x509_crt_set_subject_alt_name(
		    c, GNUTLS_SAN_IPADDRESS, address, 4, GNUTLS_FSAN_APPEND);
	if (inet_pton(AF_INET6, host, address) == 1)
		return gnutls_x509_crt_set_subject_alt_name(
		    c, GNUTLS_SAN_IPADDRESS, address, 16, GNUTLS_FSAN_APPEND);
	return add_dns(c, host);
}

static int
add_names(crt_t c, const char *name, const char *const *hosts, size_t n, struct err *e)
{
	int rc;

	if ((rc = add_dns(c, name)) < 0 || (rc = add_dns(c, "localhost")) < 0 ||
	    (rc = add_host(c, "127.0.0.1")) < 0 || (rc = add_host(c, "::1")) < 0)
		return fail(rc, "the certificate's names", e);
	for (size_t i = 0; i < n; i++)
		if ((rc = add_host(c, hosts[i])) < 0)
			return fail(rc, hosts[i], e);
	return 0;
}

int
ca_issue(const char *dir, const char *name, const char *const *hosts, size_t n, unsigned days,
    const char *key_path, const char *cert_path, struct err *e)
{
	_cleanup_(key_free) privkey_t ca_key = NULL, key = NULL;
	_cleanup_(crt_free) crt_t ca = NULL, c = NULL;
	int rc;

	if (!region_name_valid(name) || strcmp(name, "localhost") == 0)
		return err_set(e, ERR_BAD, "'%.40s' can't be a region's name", name);
	if (read_ca(dir, &ca, &ca_key, e) < 0 || make_key(&key, e) < 0 ||
	    make_crt(&c, key, name, days, e) < 0 || add_names(c, name, hosts, n, e) < 0)
		return -1;
	if ((rc = gnutls_x509_crt_set_basic_constraints(c, 0, -1)) < 0 ||
	    (rc = gnutls_x509_crt_set_key_usage(c, GNUTLS_KEY_DIGITAL_SIGNATURE)) < 0 ||
	    (rc = gnutls_x509_crt_set_key_purpose_oid(c, GNUTLS_KP_TLS_WWW_SERVER, 0)) < 0 ||
	    (rc = gnutls_x509_crt_set_key_purpose_oid(c, GNUTLS_KP_TLS_WWW_CLIENT, 0)) < 0)
		return fail(rc, "the certificate's purpose", e);
	if (sign_crt(c, ca, ca_key, e) < 0 || write_key(key_path, key, e) < 0)
		return -1;
	return write_crt(cert_path, c, e);
}
