/* ca.h - the small certificate authority that makes regions known to each other.
 *
 * ECDSA P-256, X.509 v3. For development and small fleets; a company's own CA serves as well, if it
 * issues certificates with the region id as common name and DNS name.
 */
#pragma once
#include <stddef.h>
#include "base/err.h"

/* DIR/ca.key (0600) and DIR/ca.pem, valid ten years. ERR_EXISTS if there is one. */
must_check
int ca_create(const char *dir, const char *common_name, struct err *e);
/* A key (0600) and a certificate for region NAME signed by the CA in DIR, for servers and clients, valid
 * DAYS, with NAME, `localhost` and each of the N hosts (names or addresses) as alternative names, and
 * 127.0.0.1 and ::1. */
must_check
int ca_issue(const char *dir, const char *name, const char *const *hosts, size_t n, unsigned days,
    const char *key_path, const char *cert_path, struct err *e);
