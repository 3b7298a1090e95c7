/* Whatever another region may send: frames of a move, statements, notes, stored records. */
#include <stdlib.h>

#include "ledger/sealing.h"
#include "move/frames.h"
#include "move/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct opening openings[UNIT_MAX];
	static struct seal_item items[UNIT_MAX];
	static struct verdict verdicts[UNIT_MAX];
	static struct proof proof;
	static struct move_record move;
	struct erase_record erase;
	struct move_statement statement;
	struct erasure_statement erasure;
	struct section section;
	char wave[WAVE_ID_SIZE];
	struct note note;
	struct err e;
	uint32_t unit, lease;
	size_t n;

	if (size == 0)
		return 0;
	struct span p = { data + 1, size - 1 };
	struct reader r = READER(p.data, p.len);

	switch (data[0] % 9) {
	case 0:
		return open_read(p, &unit, wave, openings, &n, &e) * 0;
	case 1:
		return seal_read(p, &unit, &lease, items, &n, &note, &e) * 0;
	case 2:
		return unit_read(p, &unit, &e) * 0;
	case 3:
		return verdicts_read(&r, 0, verdicts, UNIT_MAX, &e) * 0;
	case 4:
		while (section_read(&r, &section, &e) == 1)
			;
		return 0;
	case 5:
		return move_statement_parse(p, &statement, &e) * 0;
	case 6:
		return erasure_statement_parse(p, &erasure, &e) * 0;
	case 7:
		return move_record_read(p, &move, &e) * 0;
	default:
		if (erase_record_read(p, &erase, &e) == 0)
			return 0;
		return proof_read(p, &proof, &e) * 0;
	}
}
