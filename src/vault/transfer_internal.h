/* transfer_internal.h - the items that export.c writes and import.c reads; see transfer.h. */
#pragma once
#include "sealed/store.h"
#include "vault/content_internal.h"
#include "vault/transfer.h"

enum item {
	ITEM_VAULT = 'V',
	ITEM_PAGE = 'P',
	ITEM_CHUNK = 'C',
	ITEM_ENTRY = 'R',
	ITEM_DATA = 'D',
	ITEM_END = 'E',
};

#define ITEM_VAULT_BYTES (8 + 4)
#define ITEM_PAGE_BYTES  (4 + 8 + PAGE_BYTES)
#define ITEM_CHUNK_BYTES (CHUNK_NAME_BYTES + 8 + SHA256_BYTES)
