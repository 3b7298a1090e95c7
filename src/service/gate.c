/* gate.c - see gate.h. */
#include "service/gate.h"

#include <string.h>

#include "base/stats.h"
#include "standby/standby.h"
#include "vault/homes.h"

_Static_assert(sizeof(struct home_pass) <= sizeof((struct gate_pass *)0)->opaque,
    "a pass of the homes fits into a pass of the gate");

static struct counter requests_held = COUNTER("domicile_requests_held_total", NULL,
    "Times that a request was held at the gate for a move to end.");

static const enum enter_how hows[] = {
	[GATE_READ] = ENTER_READ,
	[GATE_WRITE] = ENTER_WRITE,
	[GATE_UPLOAD] = ENTER_UPLOAD,
	[GATE_OPERATOR] = ENTER_OPERATOR,
};

static const enum gate_answer answers[] = {
	[ENTER_GO] = GATE_GO,
	[ENTER_WAIT] = GATE_WAIT,
	[ENTER_FORWARD] = GATE_FORWARD,
	[ENTER_UNKNOWN] = GATE_UNKNOWN,
	[ENTER_SUSPENDED] = GATE_SUSPENDED,
	[ENTER_HELD] = GATE_HELD,
	[ENTER_LOST] = GATE_LOST,
};

static void
fill(struct gate_pass *pass, const struct home_pass *inner, enum enter_answer answer)
{
	*pass = (struct gate_pass){ .is_inside = answer == ENTER_GO };
	if (answer == ENTER_UNKNOWN)
		return;
	pass->services = inner->home.services;
	pass->epoch = inner->home.epoch;
	memcpy(pass->country, inner->home.country, sizeof pass->country);
	memcpy(pass->peer, inner->home.peer, sizeof pass->peer);
	memcpy(pass->opaque, inner, sizeof *inner);
}

static int
enter(struct node *n, const struct account_id *id, enum gate_how how, bool wait,
    enum gate_answer *answer, struct gate_pass *pass, struct err *e)
{
	struct home_pass inner = { 0 };
	enum enter_answer said = ENTER_UNKNOWN;
	int rc = 0;

	if (how == GATE_READ ? !standby_may_serve(n->standby) : !standby_may_write(n->standby))
		return standby_refuse(n->standby, e);
	if (n->homes)
		rc = wait ? homes_enter_wait(n->homes, id, hows[how], &said, &inner, e)
		          : homes_enter(n->homes, id, hows[how], &said, &inner, NULL, e);
	if (rc < 0)
		return -1;
	fill(pass, &inner, said);
	*answer = answers[said];
	return 0;
}

int
gate_enter(struct node *n, const struct account_id *id, enum gate_how how, enum gate_answer *answer,
    struct gate_pass *pass, struct err *e)
{
	return enter(n, id, how, false, answer, pass, e);
}

int
gate_wait(struct node *n, const struct account_id *id, enum gate_how how, enum gate_answer *answer,
    struct gate_pass *pass, struct err *e)
{
	counter_add(&requests_held, 1);
	return enter(n, id, how, true, answer, pass, e);
}

void
gate_leave(struct node *n, struct gate_pass *pass)
{
	struct home_pass inner;

	if (!pass->is_inside)
		return;
	memcpy(&inner, pass->opaque, sizeof inner);
	pass->is_inside = false;
	homes_leave(n->homes, &inner);
}

bool
gate_is_over(struct node *n, const struct account_id *id)
{
	return n->homes && homes_is_over(n->homes, id);
}
