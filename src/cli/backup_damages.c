/* backup_damages.c - see backup_damages.h. */
#include "cli/backup_damages.h"

#include <stdio.h>

#include "cli/call.h"

void
backup_damages_print(json_t *it)
{
	json_t *list = json_object_get(it, "damages"), *one;
	int64_t more = get_number(it, "damaged") - (int64_t)json_array_size(list);
	size_t i;

	json_array_foreach(list, i, one)
	    printf("%s\t%s%s%s\t%s\n", get_text(one, "account"), get_text(one, "service"),
	        *get_text(one, "to") ? "to " : "", get_text(one, "to"), get_text(one, "kind"));
	if (more > 0)
		printf("and %" PRId64 " more\n", more);
}

int
backup_damages_exit(json_t *it)
{
	return get_number(it, "damaged") ? err_exit(ERR_FORGED) : 0;
}
