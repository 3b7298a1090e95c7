/* forged.h - how this layer names what did not authenticate. */
#pragma once
#include "base/id.h"

/* Set *E to ERR_FORGED: "vault files 9c41...: FORMAT". Returns -1. */
int sealed_forged(struct err *e, const struct vault_id *id, const char *format, ...)
    printf_like(3, 4);
