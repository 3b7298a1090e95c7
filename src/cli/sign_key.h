/* sign_key.h - a region's signing key, as files: base64 on one line. */
#pragma once
#include "base/crypto.h"

/* Make SECRET_PATH (0600) and PUBLIC_PATH. PUBLIC gets the public key. */
must_check
int sign_key_create(const char *secret_path, const char *public_path,
    uint8_t public[static SIGN_PUBLIC_BYTES], struct err *e);
/* ERR_DENIED: others may read the file; ERR_FORGED: it does not go with PUBLIC. */
must_check
int sign_key_read(const char *path, const uint8_t public[static SIGN_PUBLIC_BYTES],
    uint8_t secret[static SIGN_SECRET_BYTES], struct err *e);
/* ERR_DENIED unless PATH is a file that only its owner can read; the text says what to do. */
must_check
int private_file_check(const char *path, struct err *e);
