/* call_none.c - in the place of call_json.c where the program is built without libprotobuf */
#include "call.h"

int run_call_json(const options_t *o)
{
    return options_refuse(
        o, "JSON needs libprotobuf, and this ensign was built without it: install it (Debian: "
           "libprotobuf-dev) and build again, or give messages as bytes with --hex or --raw");
}
