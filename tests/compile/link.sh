#!/usr/bin/env bash
# A kind of handle is linked only when its opener is: a program carries no code of the kinds that it does not open.
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh
CC=${CC:-cc}

# program NAME LINES: a program with these lines, built so that the linker drops what nobody needs
program() {
    cat >"$dir/$1.c" <<TEXT
#define ENSIGN_IMPLEMENTATION
#include "$PWD/ensign.h"
int main(void)
{
    static ensign_desc_t d;
    static ensign_t *c;
    if (ensign_create(&d, &c, NULL) != ENSIGN_OK) return 1;
    $2
    ensign_close(c, ENSIGN_CLIENT, 0);
    while (ensign_wait(c, NULL, 0, 100) >= 0 && ensign_next(c)) continue;
    ensign_destroy(c);
    return 0;
}
TEXT
    $CC -Os -ffunction-sections -fdata-sections -Wl,--gc-sections -o "$dir/$1" "$dir/$1.c" -lnghttp2 -lmbedtls \
        -lmbedx509 -lmbedcrypto -lprotobuf-nanopb
}

has()   { nm "$dir/$1" | grep -qE " ensi_$2_"; }
lacks() { for kind in "${@:2}"; do ! has "$1" "$kind" || { nm "$dir/$1" | grep " ensi_${kind}_"; return 1; }; done; }

check 'a program of calls links'      program calls \
    'static ensign_call_desc_t k; ensign_call_open(c, &k);'
check 'it has calls'                  has calls call
check 'it has no publisher, subscription, query, request' lacks calls pub sub query req reopen ask
check 'a program of a publisher links' program publisher \
    'static ensign_publisher_desc_t p; ensign_publisher_open(c, &p);'
check 'it has publishers'             has publisher pub
check 'it has no subscription, query, request' lacks publisher sub query req
check 'a program of a subscription links' program subscription \
    'static ensign_subscription_desc_t s; ensign_subscription_open(c, &s);'
check 'it has subscriptions'          has subscription sub
check 'it has no publisher, request'  lacks subscription pub req
results
