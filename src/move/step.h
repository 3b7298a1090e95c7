/* step.h - named places in a move, so that tests can stop a node exactly there.
 *
 * With DOMICILE_STOP_AT=<name> (or <name>:<n> for the n-th time) in the environment, the process stops
 * itself (SIGSTOP) on reaching the step, after a log line `step.stopped`. Unset, a step costs a compare.
 */
#pragma once

/* source.copying  .opened  .copied  .fenced  .tail  .sealed  .answered  .moved  .learned
 * target.arriving .taken   .sealed  .prepared .swapped .settled .answered
 * eraser.keys     .records .compacted .erased
 * remove.recorded
 * reconcile.page .settled
 * restore.gathered .chunks
 * rotate.recorded .added  .vault  .wrapped .destroyed .compacted (service/rotation.h) */
void step(const char *name);
