/* admin_key.c - the operator's calls about the region key. */
#include "front/admin_private.h"

#include "service/rotation.h"

static int
rotation_of(struct request *r, struct rotation **out, struct err *e)
{
	*out = r->node->rotation;
	return *out ? 0 : err_set(e, ERR_MISSING, "%s has no store", r->node->region);
}

int
admin_key_rotate(struct request *r, json_t *in, json_t **out, struct err *e)
{
	struct rotation *rotation;

	if (rotation_of(r, &rotation, e) < 0 || admin_unpack(in, e, "{}") < 0 ||
	    rotation_begin(rotation, e) < 0)
		return -1;
	return rotation_status(rotation, out, e);
}

int
admin_key_status(struct request *r, json_t *in, json_t **out, struct err *e)
{
	struct rotation *rotation;

	if (rotation_of(r, &rotation, e) < 0 || admin_unpack(in, e, "{}") < 0)
		return -1;
	return rotation_status(rotation, out, e);
}
