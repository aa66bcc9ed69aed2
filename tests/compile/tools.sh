#!/usr/bin/env bash
# tools/toc and tools/check_layers: what they say of ensign.h, and that they find what is planted in a
# made-up one. Whether tests/sim/faults can still put in each of its faults.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh

toc=tools/toc layers=tools/check_layers
# A small header that is all right; each case below spoils a copy of it with one sed command.
cat >"$dir/good.h" <<'H'
/* good.h - a made-up header

CONTENTS
    >>macros   what to define
    >>util     small things
    >>h2       frames
    >>grpc     calls
*/
// >>macros  what to define
#ifdef __cplusplus
extern "C" {
#endif
typedef struct good_t { int (*hook)(int x); } good_t;
extern int ensign_open(int x);
#ifdef __cplusplus
}
#endif
#ifdef ENSIGN_IMPLEMENTATION
/* >>util   may call:
 *
 * small things
 */
static int ensi_twice(int x)
{
    return x ? 2 * x : '{';
}
// >>h2   may call: util
// frames
static int ensi_h2_send(int x); /* ensi_grpc_call is only talked of here */
static int ensi_h2_send(int x)
{
    return ensi_twice(x); /* ensi_grpc_call("{") */
}
// >>grpc   may call: util h2
// calls
static const good_t ensi_grpc_hooks[] = { { ensi_h2_send } };
static int ensi_grpc_call(int x)
{
    return ensi_grpc_hooks[0].hook(x) + ensi_twice(x);
}
int ensign_open(int x)
{
    return ensi_grpc_call(x);
}
#endif
H
spoil() { sed "$1" "$dir/good.h" >"$dir/bad.h"; }
lengthen() { # ensi_h2_send, by a hundred lines
    awk '{print} /return ensi_twice/ {for (i = 0; i < 100; i++) print "    x++;"}' "$dir/good.h" >"$dir/bad.h"
}

check 'toc: the contents of ensign.h are true' $toc --check
check 'layers: ensign.h calls only downwards' tools/check_layers

check 'toc: nothing to say of a good header' $toc --check "$dir/good.h"
check 'layers: nothing to say of a good header' tools/check_layers "$dir/good.h"

spoil '/^    >>h2/d'
finds 'toc: an entry that is missing' '+    >>h2       frames' $toc --check "$dir/bad.h"
spoil 's/^    >>h2 .*/    >>h3       frames/'
finds 'toc: an entry of no section' '-    >>h3       frames' $toc --check "$dir/bad.h"
check 'toc: --write mends it' $toc --write "$dir/bad.h"
check 'toc: and makes it equal to the good one' cmp "$dir/good.h" "$dir/bad.h"
spoil '/^\/\/ frames/d'
finds 'toc: a section without a description' 'section h2 has no description' $toc --check "$dir/bad.h"
spoil 's/^CONTENTS//'
finds 'toc: no place for the table' 'no line CONTENTS' $toc --check "$dir/bad.h"
spoil 's/^\/\/ >>h2 .*/\/\/ >>util   may call:/'
finds 'toc: a mark that stands twice' 'stands on line' $toc --check "$dir/bad.h"

spoil 's/return ensi_twice(x); .*/return ensi_grpc_call(x);/'
finds 'layers: a call upwards' 'h2 uses ensi_grpc_call() of section grpc' $layers "$dir/bad.h"
spoil 's/return ensi_twice(x); .*/return ensign_open(x);/'
finds 'layers: a call upwards of a public function' 'h2 uses ensign_open() of section grpc' \
    $layers "$dir/bad.h"
spoil 's/^\(.*\)return x ? 2.*/\1int (*f)(int) = ensi_h2_send; return f(x);/'
finds 'layers: a function passed, not called' 'util uses ensi_h2_send() of section h2' $layers "$dir/bad.h"
spoil 's/may call: util h2/may call: util/'
finds 'layers: a table that holds it' 'grpc uses ensi_h2_send() of section h2' $layers "$dir/bad.h"
spoil 's/may call: util$/may call: util grpc/'
finds 'layers: a contract that points upwards' 'h2 may call grpc, which is no section above' \
    $layers "$dir/bad.h"
spoil 's/may call: util$/may call: utility/'
finds 'layers: a contract with a name of nothing' 'h2 may call utility' $layers "$dir/bad.h"
spoil 's/^\/\/ >>grpc .*/\/\/ >>grpc/'
finds 'layers: no contract' 'section grpc has no contract' $layers "$dir/bad.h"
spoil 's/^\/\/ frames/#define ENSI_H2_GO(x) ensi_grpc_call(x)/'
finds 'layers: a macro that calls upwards' 'h2 uses ensi_grpc_call()' $layers "$dir/bad.h"
spoil 's/int x)$/int _x)/'
finds 'layers: a name with a leading underscore' 'the name _x' $layers "$dir/bad.h"
spoil 's/ensi_grpc_hooks/ensi__hooks/'
finds 'layers: a name with two underscores' 'the name ensi__hooks' $layers "$dir/bad.h"
lengthen
finds 'layers: a function that is too long' 'ensi_h2_send() has 104 lines, 100 are allowed' \
    $layers "$dir/bad.h"
spoil "s/^\/\/ frames/\/\/ $(printf 'word %.0s' {1..30})/"
finds 'layers: a line that is too wide' 'columns, 110 are allowed' $layers "$dir/bad.h"
spoil 's/#ifdef ENSIGN_IMPLEMENTATION/#if 1/'
finds 'layers: nothing to check is no success' 'nothing was checked' $layers "$dir/bad.h"

check 'faults: ensign.h has each text of the list once' tests/sim/faults --check
sed '/^    ensi_timer_stop(&h->give_up);$/d' ensign.h >"$dir/other.h"
finds 'faults: a text that ensign.h does not have any more' 'b5_give_up: ensign.h does not have' \
    tests/sim/faults --check --header "$dir/other.h"

finds 'coverage: a section that is not there' 'ensign.h has no section nosuch' tools/coverage --rest nosuch
helps() { # PROGRAM: both forms print the same text, which names it
    local long short
    long=$("$1" --help </dev/null) && short=$("$1" -h </dev/null) && [ "$long" = "$short" ] || return
    [[ $long = *"${1#tools/}"* ]] || { echo "$long"; return 1; }
}
for program in tools/*; do
    [ -f "$program" ] && [ -x "$program" ] && check "${program#tools/}: --help and -h" helps "$program"
done
finds 'demo.sh: another argument is refused' 'unknown argument --fast' tools/demo.sh --fast
finds 'bench_check: another argument is refused' 'there is no such option' tools/bench_check --fast
finds 'small: another argument is refused' 'unknown argument --fast' tools/small --fast

tools/check_layers --longest 1 "$dir/good.h" >"$dir/long" 2>&1
check 'layers: --longest gives the median' grep -q '4  is the median of 4 functions' "$dir/long"
$toc --sizes "$dir/good.h" >"$dir/sizes" 2>&1
check 'toc: --sizes counts a section to the next mark' grep -qx '     8  util' "$dir/sizes"
results
