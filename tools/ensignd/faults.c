/* faults.c - see faults.h */
#include "faults.h"
#include <stdlib.h>
#include <string.h>

static const struct { int code; const char *name, *text; } nacks[] = {
    { 0, "UNKNOWN", "unknown error" },
    { 1, "MAX_EVENT_SIZE_EXCEEDED", "maximum event size has been exceeded" },
    { 2, "TOPIC_UNKNOWN", "topic unknown or unhandled" },
    { 3, "TOPIC_ARCHIVED", "cannot publish to an archived topic" },
    { 4, "TOPIC_DELETED", "topic is currently being deleted" },
    { 5, "PERMISSION_DENIED", "not authorized to perform this action" },
    { 6, "CONSENSUS_FAILURE", "could not commit event, please try again" },
    { 7, "SHARDING_FAILURE", "wrong node for event sharding policy, please try again" },
    { 8, "REDIRECT", "redirect to correct node" },
    { 9, "INTERNAL", "internal error, please wait and try again" },
    { 100, "UNPROCESSED", "client did not process event" },
    { 101, "TIMEOUT", "client deadline exceeded" },
    { 102, "UNHANDLED_MIMETYPE", "unhandled mimetype" },
    { 103, "UNKNOWN_TYPE", "unhandled schema" },
    { 104, "DELIVER_AGAIN_ANY", "deliver again to any subscriber" },
    { 105, "DELIVER_AGAIN_NOT_ME", "deliver again to any subscriber but me" },
};

bool nack_code_parse(const char *text, int64_t *code)
{
    char *end;
    long number = strtol(text, &end, 10);

    if (end == text || *end != '\0') number = -1;
    for (size_t i = 0; i < sizeof nacks / sizeof nacks[0]; i++) {
        if (number != nacks[i].code && strcmp(text, nacks[i].name) != 0) continue;
        *code = nacks[i].code;
        return true;
    }
    return false;
}

/* Where its words are; UNKNOWN for a code that has none. */
static size_t row_of(int64_t code)
{
    for (size_t i = 0; i < sizeof nacks / sizeof nacks[0]; i++)
        if (nacks[i].code == code) return i;
    return 0;
}

const char *nack_text(int64_t code)
{
    return nacks[row_of(code)].text;
}

const char *nack_name(int64_t code)
{
    return nacks[row_of(code)].name;
}
