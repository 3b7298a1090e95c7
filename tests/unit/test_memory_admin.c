/* Whatever allocation fails while a call is answered, JSON's own too: the answer has all, or says that there was no
 * memory. */
#include "alloc_fault.h"
#include "fault_fixture.h"
#include "front/admin.h"
#include "http_fixture.h"

#define ACCOUNTS 4

static struct region region;
static struct served served;
static struct flusher *own; /* served's, till it ends */
static struct account_credentials who[ACCOUNTS];

static int
set_up(void **state)
{
	static const struct front_ops ops = { admin_handle, NULL, NULL, served_fail };
	(void)state;
	admin_json_begin();
	region_open(&region, false);
	for (size_t i = 0; i < ACCOUNTS; i++)
		region_account(&region, ALL_SERVICES, &who[i]);
	served_start(&served, &ops, NULL);
	own = served.node.flusher;
	served.node = region.node;
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	served.node.flusher = own;
	served_stop(&served);
	region_close(&region);
	return 0;
}

/* The status, or 0: the connection ended. */
static unsigned
call(struct client *c, const char *path, const char *body, struct alloc_turn *t)
{
	struct pollfd p = { .events = POLLIN };
	char text[400];

	snprintf(text, sizeof text, "POST %s HTTP/1.1\r\nHost: h\r\nContent-Length: %zu\r\n\r\n%s",
	    path, strlen(body), body);
	client_open(c, served.port);
	p.fd = c->fd;
	if (t)
		alloc_arm(t);
	client_say(c, text);
	CHECK(poll(&p, 1, CLIENT_WAIT_MS) == 1);
	if (t)
		alloc_disarm(t);
	return client_answer(c);
}

static void
all_or_an_error(const char *path, const char *body)
{
	struct alloc_turn t = { .is_everywhere = true };
	struct client whole;

	CHECK(call(&whole, path, body, NULL) == 200);
	while (alloc_next(&t)) {
		struct client c;
		unsigned status = call(&c, path, body, &t);

		if (status == 200)
			CHECK_STR(buf_str(&c.body), buf_str(&whole.body));
		else
			CHECK(t.fired && (!status || status >= 500));
		client_close(&c);
	}
	CHECK(t.nth > 30);
	client_close(&whole);
}

static void
lists_have_every_row_or_are_refused(void **state)
{
	char body[100], id[ACCOUNT_TEXT_SIZE];

	(void)state;
	all_or_an_error("/v1/account/list", "{}");
	account_text(&who[0].account, id);
	snprintf(body, sizeof body, "{\"account\":\"%s\"}", id);
	all_or_an_error("/v1/account/key/list", body);
	all_or_an_error("/v1/account/consent", body);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
		    lists_have_every_row_or_are_refused, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
