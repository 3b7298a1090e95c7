/* What the listeners' requests are given to. */
#include "front/admin.h"
#include "front/http_internal.h"
#include "front/s3.h"

struct front *
front_start(const struct front_config *c, struct err *e)
{
	static const struct front_table table = {
		.s3 = { s3_handle, s3_is_stream, s3_stream_after, s3_fail },
		.peer = { peer_handle, s3_is_stream, s3_stream_after, s3_fail },
		.admin = { admin_handle, NULL, NULL, admin_fail },
		.metrics = { metrics_handle, NULL, NULL, admin_fail },
	};

	return front_start_with(c, &table, e);
}
