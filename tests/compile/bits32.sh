#!/usr/bin/env bash
# tests/compile/bits32.sh FOLDER - everything with 32-bit pointers, every warning an error. For i386 by the
# Makefile's rules, and the programs are run; for armhf, where char is unsigned, each file is compiled.
# `make check` gives the folder, in which tools/bits32 has put the libraries; without one nothing is tried.
set -u
cd "$(dirname "$0")/../.." || exit 1
[ -n "${1:-}" ] || { echo 'ok 1 - 32 bits # SKIP make check brings the libraries'; exit 0; }
. tests/tap.sh
i386=$PWD/$1/i386
armhf=$PWD/$1/armhf
left_out() { tap ok "$1 # SKIP $2"; } # WHAT REASON

# Some at a time: each one's output and status are kept, and told in order.
titles=()
ahead() { # TITLE COMMAND...
    local number=${#titles[@]}
    titles+=("$1")
    { "${@:2}" >"$dir/kept.$number" 2>&1; echo $? >"$dir/status.$number"; } &
    while [ "$(jobs -pr | wc -l)" -ge "${JOBS:-2}" ]; do wait -n; done
}
kept() { # NUMBER
    cat "$dir/kept.$1"
    return "$(cat "$dir/status.$1")"
}
tell() {
    local number
    wait
    for number in "${!titles[@]}"; do check "${titles[$number]}" kept "$number"; done
    titles=()
}

# ---- i386: build/i386, a variant of the tree

export BUILD=build/i386 ENSIGND=build/i386/ensignd
system="$i386/usr/lib/i386-linux-gnu:$i386/lib/i386-linux-gnu"
cc32=(gcc -m32 "--sysroot=$i386" "-B$(echo "$i386"/usr/lib/gcc/i686-linux-gnu/*)")
link32=("-Wl,--dynamic-linker=$i386/lib/ld-linux.so.2" "-Wl,--disable-new-dtags,-rpath,$system")

makes() { # TARGET...: on its own, not a part of the make that runs this
    MAKEFLAGS='' MAKELEVEL=0 make --no-print-directory -k "-j${JOBS:-2}" VARIANT=i386 \
        PROTOBUF='' CC="${cc32[*]}" LDFLAGS="${link32[*]}" "$@" >"$dir/made" 2>&1 && return
    grep -E 'error|\*\*\*' "$dir/made"
    return 1
}
pointers_have_32_bits() {
    echo 'int main(void) { return sizeof(void *) == 4 ? 0 : 1; }' |
        "${cc32[@]}" -x c -o "$dir/size" - "${link32[@]}" || return 1
    "$dir/size"
    size_status=$?
    [ $size_status -eq 0 ] || [ $size_status -eq 126 ]
}
runs() { # PROGRAM [ARGUMENT...], by the name of its source
    ahead "i386: ${1%.c}" timeout "${TEST_TIMEOUT:-300}" "$BUILD/${1%.c}" "${@:2}"
}
on_i386() {
    local program corpus size_status=1
    check 'i386: everything is built' makes programs
    check 'i386: a pointer has 32 bits' pointers_have_32_bits
    if [ $size_status -eq 126 ]; then # it cannot be executed
        left_out 'i386: the programs run' 'the kernel or the processor does not run them'
        return
    fi
    for program in tests/{unit,seq,fault,e2e}/*.c; do
        case $program in */schema.c | */ensignd_nats.c) continue ;; esac # libprotobuf and libnats are not there
        runs "$program"
    done
    runs tests/sim/sim.c --seeds 300
    for program in tests/fuzz/fuzz_*.c; do
        case $program in */fuzz_schema.c) continue ;; esac
        corpus=${program##*/fuzz_}
        runs "$program" "tests/fuzz/corpus/${corpus%.c}"
    done
    tell
}
if [ -d "$i386" ]; then on_i386; else left_out i386 'tools/bits32 has no libraries for it'; fi

# ---- armhf, by a gcc for it or by clang

WARN='-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror'
compiler=''
if command -v arm-linux-gnueabihf-gcc >/dev/null 2>&1; then compiler=arm-linux-gnueabihf-gcc
elif command -v clang >/dev/null 2>&1; then compiler='clang --target=arm-linux-gnueabihf'; fi

compiles() { # FILE STANDARD
    # shellcheck disable=SC2086 # words
    $compiler "--sysroot=$armhf" -std="$2" $WARN -I. -I$BUILD/gen -I$BUILD/gen/tests/typed \
        -I$BUILD/gen/examples -idirafter "$armhf/usr/include/nanopb" -fsyntax-only "$1"
}
pointers_have_32_bits_too() {
    echo 'typedef int four[sizeof(void *) == 4 && (char)-1 > 0 ? 1 : -1];' >"$dir/size.c"
    compiles "$dir/size.c" gnu11
}
on_armhf() {
    local file
    check "armhf: ${compiler%% *}, a pointer has 32 bits, and char no sign" pointers_have_32_bits_too
    check "armhf: the generated code" makes $BUILD/gen/message_types.h generated
    for file in tests/{unit,seq,fault,sim,fuzz,e2e,peers}/*.c tools/ensign/*.c tools/ensignd/*.c; do
        case $file in */nats_link.c) continue ;; esac # libnats is not there
        ahead "armhf: $file" compiles "$file" gnu11
    done
    tell
    for file in examples/*.c; do ahead "armhf: $file" compiles "$file" c99; done
    tell
}
if [ ! -d "$armhf" ]; then left_out armhf 'tools/bits32 has no libraries for it'
elif [ -z "$compiler" ]; then left_out armhf 'neither arm-linux-gnueabihf-gcc nor clang'
else on_armhf; fi
results
