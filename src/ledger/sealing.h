/* sealing.h - the stored form of a signed note and the place of a statement under it. */
#pragma once
#include "ledger/certificate.h"

/* Append it. */
void sealing_put(struct buf *b, const struct sealing *s);
/* A malformed one fails the reader. */
void sealing_read(struct reader *r, struct sealing *out);
