/* The scrub's own records come from the disk that it mistrusts: whatever they hold, what is read of them is
 * in bounds, and is written and read again the same.
 */
#include "service/scrub_internal.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void
try_findings(struct span in)
{
	static struct findings f, again;
	const struct account_id id = { { 1 } };
	struct buf b = BUF_INIT(0);

	if (findings_read(&id, in, &f, NULL) == 0) {
		if (f.n > DAMAGES_MAX)
			__builtin_trap();
		findings_put(&b, &f);
		if (b.len != in.len || memcmp(b.data, in.data, in.len) != 0 ||
		    findings_read(&id, (struct span){ b.data, b.len }, &again, NULL) < 0)
			__builtin_trap();
		for (unsigned i = 0; i < again.n; i++)
			if (!damage_word(again.all[i].damage.kind) ||
			    strlen(again.all[i].damage.why) >= sizeof(again.all[i].damage.why))
				__builtin_trap();
	}
	buf_free(&b);
}

static void
try_state(struct span in)
{
	struct buf b = BUF_INIT(0), c = BUF_INIT(0);
	struct scrub_state s;

	if (scrub_state_read(in, &s, NULL) == 0) {
		scrub_state_put(&b, &s);
		if (b.len != in.len ||
		    scrub_state_read((struct span){ b.data, b.len }, &s, NULL) < 0)
			__builtin_trap();
		scrub_state_put(&c, &s);
		if (c.len != b.len || memcmp(b.data, c.data, c.len) != 0)
			__builtin_trap();
	}
	buf_free(&b);
	buf_free(&c);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	try_findings((struct span){ data, n });
	try_state((struct span){ data, n });
	return 0;
}
