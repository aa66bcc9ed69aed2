#!/usr/bin/env bash
# tools/bench_check: what passes, what fails and what is skipped, given a compiler and a valgrind of ours. And
# what tools/bench makes of wrong options.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh

bin=$dir/bin tree=$dir/tree
mkdir -p "$bin" "$tree/tools" "$tree/tests/bench"
cp tools/bench_check "$tree/tools"

# An event costs $COST instructions, a program has $SIZE bytes, $STEADY calls of the allocator come too late.
cat >"$bin/valgrind" <<'SH'
#!/bin/sh
while [ "${1##*/}" != memory ]; do shift; done
[ "$2" = idle ] && n=$4 || n=$3
echo "allocations 60, in steady state ${STEADY:-0}, memory 1000"
echo "== Collected : $((5000 + n * ${COST:-100}))" >&2
SH
cat >"$bin/cc" <<'SH'
#!/bin/sh
case " $* " in
*' -E '*) cat >/dev/null
          printf '%s\n' "=gcc ${GCC:-12}" '=nghttp2 "1.52.0"' '=mbedtls "2.28.3"' '=libc 2.36' ;;
esac
SH
cat >"$bin/size" <<'SH'
#!/bin/sh
echo '   text    data     bss     dec     hex filename'
echo "  $((${SIZE:-1000} - 100))     100       0    1000     3e8 $1"
SH
chmod +x "$bin"/*

ask() { # [SETTING...] -- [OPTION...]
    local settings=()
    while [ "$1" != -- ]; do settings+=("$1"); shift; done
    shift
    env PATH="$bin:$PATH" CC=cc BUILD="$dir/build" "${settings[@]}" "$tree/tools/bench_check" "$@"
}
ends() { # WORDS [SETTING...]: it ends well, and its last line is this
    ask "${@:2}" -- >"$dir/said" 2>&1 && tail -n 1 "$dir/said" | grep -qxF -- "$1"
}
said() { grep -F -- "$1" "$dir/said"; }

check 'it records'                              ask -- --record
check 'what was recorded passes'                ends '31 passed, 0 failed'
check '3 % more passes'                         ends '31 passed, 0 failed' COST=103 SIZE=1030
finds '4 % more instructions fail, in each figure' '23 passed, 8 failed' ask COST=104 --
finds 'it shows both figures'                   'publish, 100 bytes: 104, recorded 100 (+4.0 %)' ask COST=104 --
finds 'it says what to do'                      'run `make bench-record`' ask COST=104 --
finds '4 % more bytes fail'                     '28 passed, 3 failed' ask SIZE=1040 --
finds 'an allocation while events flow fails'   '25 passed, 6 failed' ask STEADY=1 --
check 'less passes'                             ends '31 passed, 0 failed' COST=90
check 'it says that less can be recorded'       said '8 more than 3 % under the record'
check 'another compiler is skipped'             ends '0 passed, 0 failed, 31 skipped' GCC=13
check 'it says which'                           said 'gcc 13, recorded with 12'
sed -i '/an idle turn, 1 handle/d' "$tree/tests/bench/recorded.txt"
finds 'a figure without a record fails'         'not ok 25' ask --
finds 'no such option'                          'tools/bench_check --record' ask -- --recrod
finds 'bench: no such part'                     'the parts are publish' tools/bench publsh
finds 'bench: no rounds'                        '--rounds is 1 or more' tools/bench --rounds 0
finds 'bench: some parts cannot be kept'        '--keep is for a run of all parts' tools/bench --keep sizes
check 'bench: its help'                         tools/bench --help
finds 'bench_server: no such part'              'the parts are publish' tools/bench_server publsh
finds 'bench_server: no events'                 '--events 100' tools/bench_server --events 0
finds 'bench_server: a short run cannot be kept' '--keep is for a whole run' tools/bench_server --keep --short
check 'bench_server: its help'                  tools/bench_server --help
results
