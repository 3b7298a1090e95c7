/* peer_private.h - what peer.c, peer_call.c and the streams share. */
#pragma once
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <pthread.h>
#include "directory/peer.h"

#define PEER_CALLS_IDLE 32

/* An address that libcurl goes to for a region's name. It borrows the list, so one is kept for
 * each address that ever was. */
struct peer_route {
	struct peers *peers;
	struct curl_slist *list;
	char name[REGION_NAME_SIZE];
	char endpoint[128];
	struct peer_route *next;
};

/* A libcurl handle between two calls, with its open connection. */
struct peer_idle {
	void *easy;
	const struct peer_route *route;
};

struct peers {
	char self[REGION_NAME_SIZE];
	char directory[REGION_NAME_SIZE]; /* "": we serve it */
	char *ca_path, *cert_path, *key_path;
	char *ca_pem, *cert_pem;
	char *key_pem; /* locked memory */
	gnutls_certificate_credentials_t credentials;
	gnutls_x509_trust_list_t trust;

	pthread_mutex_t lock; /* of all that follows */
	struct peer_region *regions;
	size_t n_regions;
	_Atomic bool has_domains; /* some region has an s3_domain; read without the lock */
	struct peer_route *routes;
	struct peer_idle idle[PEER_CALLS_IDLE];
	size_t n_idle;
};

/* Whose certificate the session's other side has shown: chain, time, PURPOSE (an OID), one name.
 * HOST: what it must be, or NULL. ERR_DENIED. */
must_check
int peers_verify(struct peers *p, gnutls_session_t session, const char *purpose, const char *host,
    char name[static REGION_NAME_SIZE], struct err *e);

/* The routes and idle calls. */
void peer_calls_free(struct peers *p);
