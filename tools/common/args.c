/* args.c - see args.h */
#include "args.h"
#include <string.h>

bool option_like(const char *word)
{
    return word[0] == '-' && word[1] != '\0';
}

bool option_has_value(const option_t *k)
{
    return k->kind != KIND_FLAG && k->kind != KIND_TIMES && k->kind != KIND_COUNT;
}

static bool is_named(const option_t *k, const char *word, size_t len)
{
    if (word[1] != '-') return k->letter != 0 && word[1] == k->letter;
    return strlen(k->name) == len && memcmp(k->name, word, len) == 0;
}

const option_t *option_find(const option_table_t *tables, size_t count, uint32_t commands, const char *word)
{
    size_t len = strcspn(word, "=");

    if (!option_like(word)) return NULL;
    for (size_t t = 0; t < count; t++) {
        for (size_t i = 0; i < tables[t].count; i++) {
            const option_t *k = &tables[t].rows[i];
            if ((k->commands & commands) && is_named(k, word, len)) return k;
        }
    }
    return NULL;
}

bool option_keep(void *options, const option_t *k, const char *value)
{
    void *at = (char *)options + k->at;

    if (k->kind == KIND_FLAG) *(bool *)at = true;
    else if (k->kind == KIND_TIMES) ++*(uint64_t *)at;
    else if (k->kind == KIND_TEXT) *(const char **)at = value;
    else return false;
    return true;
}

/* The value is the next word, if there is one. */
static void take_next(args_t *a, arg_t *out)
{
    if (a->at < a->argc) out->value = a->argv[a->at++];
    else out->kind = ARG_MISSING;
}

static void read_long(args_t *a, arg_t *out)
{
    const char *equals = strchr(out->text, '=');

    out->option = option_find(a->tables, a->table_count, a->commands, out->text);
    if (!out->option) {
        out->kind = ARG_UNKNOWN;
    } else if (equals && !option_has_value(out->option) && out->option->kind != KIND_COUNT) {
        out->kind = ARG_UNWANTED;
        out->value = equals;
    } else if (equals) {
        out->value = equals + 1;
    } else if (option_has_value(out->option)) {
        take_next(a, out);
    }
}

/* Letters that take no value can stand together: -jq */
static void read_letter(args_t *a, arg_t *out)
{
    const char one[3] = { '-', *a->letters++, '\0' };

    out->letter = one[1];
    out->option = option_find(a->tables, a->table_count, a->commands, one);
    if (!out->option) {
        out->kind = ARG_UNKNOWN;
    } else if (option_has_value(out->option)) {
        if (*a->letters != '\0') out->value = a->letters;
        else take_next(a, out);
        a->letters = NULL;
    }
}

bool args_next(args_t *a, arg_t *out)
{
    bool goes_on = a->letters && *a->letters != '\0';

    if (!goes_on && !a->ended && a->at < a->argc && strcmp(a->argv[a->at], "--") == 0) {
        a->ended = true;
        a->at++;
    }
    if (!goes_on && a->at >= a->argc) return false;
    memset(out, 0, sizeof *out);
    out->kind = ARG_OPTION;
    out->place = goes_on ? a->at - 1 : a->at++;
    out->text = a->argv[out->place];
    if (goes_on) {
        read_letter(a, out);
    } else if (a->ended || !option_like(out->text)) {
        out->kind = ARG_WORD;
    } else if (out->text[1] == '-') {
        read_long(a, out);
    } else {
        a->letters = out->text + 1;
        read_letter(a, out);
    }
    return true;
}
