/* log_carry.h - the folder of an older ensignd, carried over to the tables of log_sqlite.c */
#ifndef ENSIGND_LOG_CARRY_H
#define ENSIGND_LOG_CARRY_H
#include "util.h"
#include <sqlite3.h>

/* The row id of an event: its project's number, and its offset in the lower bits. */
#define OFFSET_BITS 44
#define OFFSET_MOST (((uint64_t)1 << OFFSET_BITS) - 1)

bool carry_needed(sqlite3 *db);
/* In a transaction of the caller's, into tables that are empty. False: see sqlite3_errmsg. */
bool carry_over(sqlite3 *db);
uint64_t epoch_new(void);
#endif
