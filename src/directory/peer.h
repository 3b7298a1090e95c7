/* peer.h - authenticated calls between regions: HTTPS with certificates on both sides.
 *
 * A peer's certificate must be signed by the common CA and carry its region id as common name and
 * as DNS name; TLS 1.3. Any thread.
 */
#pragma once
#include <jansson.h>
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/id.h"
#include "base/crypto.h"

/* What one region knows of another; from the regions file. */
struct peer_region {
	char name[REGION_NAME_SIZE];
	char jurisdiction[3];
	char s3_url[200];    /* where its users go: "https://host:port" */
	char s3_domain[128]; /* its buckets are names below this one; "": they are not */
	char peer_at[128];   /* "host:port" of its peer listener */
	char stream_at[128]; /* "host:port" of its stream listener */
	uint8_t sign_public[SIGN_PUBLIC_BYTES];
	bool may_not_operate; /* see peers_may_operate */
};

struct peers;
struct peers_config {
	const char *self;                           /* our region id */
	const char *ca_path, *cert_path, *key_path; /* PEM */
	const char *directory; /* who serves the directory; it need not be a region. NULL: we do */
};
/* Reads the three files and knows no other region yet. NULL: what fs_read or GnuTLS says of them,
 * ERR_BAD, ERR_MEMORY. Closed when nobody calls any more; NULL is fine. */
must_check
struct peers *peers_open(const struct peers_config *c, struct err *e);
void peers_close(struct peers *p);
CLEANUP(struct peers, peers_close)

/* Replace what is known of the other regions (start, and reload). Copied. */
must_check
int peers_set_regions(struct peers *p, const struct peer_region *r, size_t n, struct err *e);
/* false if NAME is unknown. Our own region is among them if it is in the file. */
bool peers_find(struct peers *p, const char *name, struct peer_region *out);
/* Whether NAME may call us: a region that is known, or who serves the directory. */
bool peers_admits(struct peers *p, const char *name);
/* Whether operators at NAME may make, suspend and remove accounts of other regions, and plan and
 * change their waves: ourselves, and who is not marked in the regions file. */
bool peers_may_operate(struct peers *p, const char *name);
/* Whether HOST, a request's, is a name below some region's s3_domain: "BUCKET.DOMAIN", perhaps with a port;
 * the longest domain counts. BUCKET is "" if it does not fit its SIZE. */
bool peers_bucket_of_host(struct peers *p, const char *host, char *bucket, size_t size);
/* Copies of at most MAX of them; how many. */
size_t peers_list(struct peers *p, struct peer_region *out, size_t max);

/* POST JSON to PATH at a region and wait for its JSON. An error answer (problem+json with "kind")
 * comes out as the same err_kind it had there; no answer is ERR_PEER. ID goes along as the request's
 * id and into both logs; may be NULL. ENDPOINT NULL: the one that is known for NAME. */
must_check
int peer_call(struct peers *p, const char *name, const char *endpoint, const char *path,
    const char *id, json_t *body, json_t **answer, uint64_t timeout_ms, struct err *e);

/* Apply our certificate, the CA and the address of region NAME to a libcurl easy handle (void: CURL *),
 * so that front/forward.c need not know how. The URL must be https://NAME/..., never the address: the
 * certificate is checked for the URL's name. An unknown region is one that can't be resolved. */
void peers_prepare_curl(struct peers *p, const char *name, void *easy);
/* PEM texts for the HTTP server's peer listener; borrowed, as long as P. */
const char *peers_ca_pem(const struct peers *p);
const char *peers_cert_pem(const struct peers *p);
const char *peers_key_pem(const struct peers *p);
/* The common name of the peer certificate in a GnuTLS session (void: gnutls_session_t), after checking
 * its chain, and that we admit it now. ERR_DENIED. */
must_check
int peers_check_session(
    struct peers *p, void *session, char name[static REGION_NAME_SIZE], struct err *e);

/* TLS priority string for users: TLS 1.2+, forward secrecy, AEAD. */
#define TLS_PRIORITIES \
	"SECURE128:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:-RSA:-AES-128-CBC:-AES-256-CBC:-CAMELLIA-128-CBC:-CAMELLIA-256-CBC"
/* Between regions, who are all ours: TLS 1.3. 128 bit keys first: on one core a tenth faster than 256,
 * and a session lives for a move. */
#define PEER_PRIORITIES \
	"SECURE128:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:+AES-128-GCM:+AES-256-GCM" \
	":+CHACHA20-POLY1305:-GROUP-ALL:+GROUP-X25519:+GROUP-SECP256R1"
