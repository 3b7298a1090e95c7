/* s3_rules.h - lifecycle rules as S3 writes them: from XML to what is kept (service/rules.h), and back.
 *
 * Source: PutBucketLifecycleConfiguration and PutBucketLifecycle, Amazon S3 API Reference.
 */
#pragma once
#include "service/rules.h"

/* The LifecycleConfiguration BODY, checked, onto STORED. On failure *CODE is S3's, or NULL (ERR_MEMORY). A
 * transition is "NotImplemented": there is one storage class. Rules without an id get one. */
must_check
int s3_rules_read(struct span body, struct buf *stored, const char **code, struct err *e);
/* The same as XML; ERR_FORGED: STORED is damaged. */
must_check
int s3_rules_write(struct span stored, struct buf *out, struct err *e);
