/* format.h - what --format prints of each event: %x stands for a part of it, backslashes for characters */
#ifndef ENSIGN_CLI_FORMAT_H
#define ENSIGN_CLI_FORMAT_H
#include "options.h"

int  format_check(const options_t *o);  /* an exit status; what is wrong with the format is said */
void format_print(const char *format, const ensign_event_t *e);     /* one that was found right */
#endif
