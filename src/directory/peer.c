/* peer.c - who the other regions are, and how they are recognized. */
#include "directory/peer_private.h"
#include "base/fs.h"
#include "base/log.h"

#include <ctype.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define PEM_BYTES_MAX ((size_t)256 << 10)
#define CHAIN_MAX     8

static gnutls_datum_t
datum(const char *text)
{
	return (gnutls_datum_t){ (unsigned char *)(uintptr_t)text, (unsigned)strlen(text) };
}

/* Opening */

/* A file as a string; SECRET: in locked memory. */
static char *
read_pem(const char *path, bool is_secret, struct err *e)
{
	_cleanup_secret_buf_ struct buf b = BUF_INIT(PEM_BYTES_MAX + 1);
	char *text;

	/* Room for all at once, so that no part of a key stays behind in a smaller block. */
	if (!buf_room(&b, is_secret ? PEM_BYTES_MAX : 1)) {
		err_set(e, ERR_MEMORY, "no memory for %s", path);
		return NULL;
	}
	if (fs_read(path, PEM_BYTES_MAX, &b, e) < 0)
		return NULL;
	text = is_secret ? secret_alloc(b.len + 1, e) : malloc(b.len + 1);
	if (!text) {
		err_set(e, ERR_MEMORY, "no memory for %s", path);
		return NULL;
	}
	memcpy(text, b.data, b.len);
	text[b.len] = 0;
	return text;
}

static int
load_files(struct peers *p, const struct peers_config *c, struct err *e)
{
	p->ca_path = strdup(c->ca_path);
	p->cert_path = strdup(c->cert_path);
	p->key_path = strdup(c->key_path);
	if (!p->ca_path || !p->cert_path || !p->key_path)
		return err_set(e, ERR_MEMORY, "no memory for the peers");
	p->ca_pem = read_pem(c->ca_path, false, e);
	p->cert_pem = p->ca_pem ? read_pem(c->cert_path, false, e) : NULL;
	p->key_pem = p->cert_pem ? read_pem(c->key_path, true, e) : NULL;
	return p->key_pem ? 0 : -1;
}

static int
load_credentials(struct peers *p, struct err *e)
{
	gnutls_datum_t ca = datum(p->ca_pem), cert = datum(p->cert_pem), key = datum(p->key_pem);
	int rc;

	if (gnutls_certificate_allocate_credentials(&p->credentials) < 0 ||
	    gnutls_x509_trust_list_init(&p->trust, 0) < 0)
		return err_set(e, ERR_MEMORY, "no memory for certificates");
	rc = gnutls_certificate_set_x509_trust_mem(p->credentials, &ca, GNUTLS_X509_FMT_PEM);
	if (rc > 0)
		rc = gnutls_x509_trust_list_add_trust_mem(
		    p->trust, &ca, NULL, GNUTLS_X509_FMT_PEM, 0, 0);
	if (rc <= 0)
		return err_set(e, ERR_BAD, "%s: no CA certificate: %s", p->ca_path,
		    rc < 0 ? gnutls_strerror(rc) : "it is empty");
	rc = gnutls_certificate_set_x509_key_mem2(
	    p->credentials, &cert, &key, GNUTLS_X509_FMT_PEM, NULL, 0);
	if (rc < 0)
		return err_set(
		    e, ERR_BAD, "%s with %s: %s", p->cert_path, p->key_path, gnutls_strerror(rc));
	return 0;
}

/* The common name, if it can be a region's. */
static int
common_name(gnutls_x509_crt_t crt, char name[static REGION_NAME_SIZE], struct err *e)
{
	char text[256];
	size_t n = sizeof(text);
	int rc = gnutls_x509_crt_get_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0, 0, text, &n);

	if (rc < 0 || strlen(text) != n || !region_name_valid(text))
		return err_set(e, ERR_DENIED, "the certificate's common name is no region's");
	memcpy(name, text, n + 1);
	return 0;
}

struct chain {
	gnutls_x509_crt_t crt[CHAIN_MAX];
	unsigned n;
};

static void
chain_free(struct chain *chain)
{
	for (unsigned i = 0; i < chain->n; i++)
		gnutls_x509_crt_deinit(chain->crt[i]);
}

/* Chain, time and purpose. */
static int
check_chain(struct peers *p, struct chain *chain, const char *purpose, struct err *e)
{
	gnutls_typed_vdata_st want = { .type = GNUTLS_DT_KEY_PURPOSE_OID,
		.data = (unsigned char *)(uintptr_t)purpose };
	gnutls_datum_t why = { 0 };
	unsigned status = 0;
	int rc = gnutls_x509_trust_list_verify_crt2(
	    p->trust, chain->crt, chain->n, &want, 1, 0, &status, NULL);

	if (rc < 0)
		return err_set(
		    e, ERR_DENIED, "the certificate can't be checked: %s", gnutls_strerror(rc));
	if (status == 0)
		return 0;
	gnutls_certificate_verification_status_print(status, GNUTLS_CRT_X509, &why, 0);
	err_set(e, ERR_DENIED, "%s", why.data ? (const char *)why.data : "not trusted");
	gnutls_free(why.data);
	return -1;
}

/* Ours must be ours. That it is still valid is not asked here: a node whose certificate ran out
 * goes on serving those who live with it. */
static int
check_own(struct peers *p, struct err *e)
{
	_cleanup_(chain_free) struct chain chain = { .n = CHAIN_MAX };
	gnutls_datum_t pem = datum(p->cert_pem);
	char name[REGION_NAME_SIZE];
	struct err why;
	int rc = gnutls_x509_crt_list_import(chain.crt, &chain.n, &pem, GNUTLS_X509_FMT_PEM, 0);

	if (rc <= 0) {
		chain.n = 0;
		return err_set(e, ERR_BAD, "%s: no certificate", p->cert_path);
	}
	chain.n = (unsigned)rc;
	if (common_name(chain.crt[0], name, &why) < 0 || strcmp(name, p->self) != 0 ||
	    !gnutls_x509_crt_check_hostname(chain.crt[0], p->self))
		return err_set(
		    e, ERR_BAD, "%s: the certificate is not for region %s", p->cert_path, p->self);
	if (check_chain(p, &chain, GNUTLS_KP_TLS_WWW_SERVER, &why) < 0 ||
	    check_chain(p, &chain, GNUTLS_KP_TLS_WWW_CLIENT, &why) < 0)
		log_warn("peer.certificate", NULL,
		    "other regions will refuse us: our certificate: %s", why.text);
	return 0;
}

struct peers *
peers_open(const struct peers_config *c, struct err *e)
{
	_cleanup_(peers_closep) struct peers *p = calloc(1, sizeof(*p));

	if (!p) {
		err_set(e, ERR_MEMORY, "no memory for the peers");
		return NULL;
	}
	pthread_mutex_init(&p->lock, NULL);
	if (!region_name_valid(c->self)) {
		err_set(e, ERR_BAD, "our region has no valid name");
		return NULL;
	}
	strcpy(p->self, c->self);
	if (c->directory && region_name_valid(c->directory))
		strcpy(p->directory, c->directory);
	if (load_files(p, c, e) < 0 || load_credentials(p, e) < 0 || check_own(p, e) < 0)
		return NULL;
	return take(&p);
}

void
peers_close(struct peers *p)
{
	if (!p)
		return;
	peer_calls_free(p);
	if (p->credentials)
		gnutls_certificate_free_credentials(p->credentials);
	if (p->trust)
		gnutls_x509_trust_list_deinit(p->trust, 1);
	free(p->ca_path);
	free(p->cert_path);
	free(p->key_path);
	free(p->ca_pem);
	free(p->cert_pem);
	secret_free(p->key_pem, p->key_pem ? strlen(p->key_pem) + 1 : 0);
	free(p->regions);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

const char *
peers_ca_pem(const struct peers *p)
{
	return p->ca_pem;
}

const char *
peers_cert_pem(const struct peers *p)
{
	return p->cert_pem;
}

const char *
peers_key_pem(const struct peers *p)
{
	return p->key_pem;
}

/* Recognizing */

static int
import_chain(gnutls_session_t session, struct chain *chain, struct err *e)
{
	unsigned n = 0;
	const gnutls_datum_t *der = gnutls_certificate_get_peers(session, &n);

	if (!der || !n || n > CHAIN_MAX)
		return err_set(e, ERR_DENIED, "%s", n ? "too long a chain" : "no certificate");
	while (chain->n < n) {
		if (gnutls_x509_crt_init(&chain->crt[chain->n]) < 0)
			return err_set(e, ERR_MEMORY, "no memory for a certificate");
		chain->n++;
		if (gnutls_x509_crt_import(
		        chain->crt[chain->n - 1], &der[chain->n - 1], GNUTLS_X509_FMT_DER) < 0)
			return err_set(e, ERR_DENIED, "a malformed certificate");
	}
	return 0;
}

int
peers_verify(struct peers *p, gnutls_session_t session, const char *purpose, const char *host,
    char name[static REGION_NAME_SIZE], struct err *e)
{
	_cleanup_(chain_free) struct chain chain = { .n = 0 };
	char found[REGION_NAME_SIZE];

	if (import_chain(session, &chain, e) < 0 || check_chain(p, &chain, purpose, e) < 0 ||
	    common_name(chain.crt[0], found, e) < 0)
		return -1;
	if (host && strcmp(found, host) != 0)
		return err_set(e, ERR_DENIED, "the certificate is for %s, not for %s", found, host);
	if (!gnutls_x509_crt_check_hostname(chain.crt[0], found))
		return err_set(e, ERR_DENIED, "the certificate's names differ");
	strcpy(name, found);
	return 0;
}

int
peers_check_session(
    struct peers *p, void *session, char name[static REGION_NAME_SIZE], struct err *e)
{
	char found[REGION_NAME_SIZE];

	if (peers_verify(p, session, GNUTLS_KP_TLS_WWW_CLIENT, NULL, found, e) < 0)
		return -1;
	if (!peers_admits(p, found))
		return err_set(e, ERR_DENIED, "%s is not among the regions", found);
	strcpy(name, found);
	return 0;
}

/* Regions */

int
peers_set_regions(struct peers *p, const struct peer_region *r, size_t n, struct err *e)
{
	struct peer_region *copy = calloc(n + 1, sizeof(*copy)), *old;
	bool has_domains = false;

	if (!copy)
		return err_set(e, ERR_MEMORY, "no memory for %zu regions", n);
	if (n)
		memcpy(copy, r, n * sizeof(*r));
	for (size_t i = 0; i < n; i++)
		has_domains |= *r[i].s3_domain != '\0';
	pthread_mutex_lock(&p->lock);
	old = p->regions;
	p->regions = copy;
	p->n_regions = n;
	atomic_store(&p->has_domains, has_domains);
	pthread_mutex_unlock(&p->lock);
	free(old);
	return 0;
}

/* Bytes of HOST before ".DOMAIN", which ends at N; 0: it is not below it. */
static size_t
bytes_below(const char *host, size_t n, const char *domain)
{
	size_t len = strlen(domain);

	if (!len || n < len + 2 || host[n - len - 1] != '.' ||
	    strncasecmp(host + n - len, domain, len) != 0)
		return 0;
	return n - len - 1;
}

bool
peers_bucket_of_host(struct peers *p, const char *host, char *bucket, size_t size)
{
	size_t n = strcspn(host, ":"), found = 0;

	if (!atomic_load(&p->has_domains))
		return false;
	if (n && host[n - 1] == '.') /* the root's, which a full name may end with */
		n--;
	pthread_mutex_lock(&p->lock);
	for (size_t i = 0; i < p->n_regions; i++) {
		const char *domain = p->regions[i].s3_domain;
		size_t below = bytes_below(host, n, domain);

		/* The domain itself is not below a shorter one. */
		if (strlen(domain) == n && !strncasecmp(host, domain, n)) {
			found = 0;
			break;
		}
		if (below && (!found || below < found))
			found = below;
	}
	pthread_mutex_unlock(&p->lock);
	if (!found)
		return false;
	snprintf(bucket, size, "%.*s", found < size ? (int)found : 0, host);
	for (char *at = bucket; *at; at++) /* names of hosts have no case */
		*at = (char)tolower((uint8_t)*at);
	return true;
}

bool
peers_find(struct peers *p, const char *name, struct peer_region *out)
{
	bool found = false;

	pthread_mutex_lock(&p->lock);
	for (size_t i = 0; !found && i < p->n_regions; i++) {
		found = strcmp(p->regions[i].name, name) == 0;
		if (found)
			*out = p->regions[i];
	}
	pthread_mutex_unlock(&p->lock);
	return found;
}

bool
peers_admits(struct peers *p, const char *name)
{
	struct peer_region r;

	return (*p->directory && strcmp(name, p->directory) == 0) || peers_find(p, name, &r);
}

bool
peers_may_operate(struct peers *p, const char *name)
{
	struct peer_region r;

	return strcmp(name, p->self) == 0 || !peers_find(p, name, &r) || !r.may_not_operate;
}

size_t
peers_list(struct peers *p, struct peer_region *out, size_t max)
{
	size_t n;

	pthread_mutex_lock(&p->lock);
	n = p->n_regions < max ? p->n_regions : max;
	if (n)
		memcpy(out, p->regions, n * sizeof(*out));
	pthread_mutex_unlock(&p->lock);
	return n;
}
