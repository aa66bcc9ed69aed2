#!/usr/bin/env bash
# make install: what a packager and a user of it meet.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh
unset MAKEFLAGS MFLAGS MAKELEVEL VARIANT # this is a make of its own

cat >"$dir/program.c" <<'C'
#define ENSIGN_IMPLEMENTATION
#include <ensign.h>
#include <stdio.h>
int main(void)
{
    puts(ensign_result_name(ENSIGN_OK));
    return 0;
}
C
files() { (cd "$dir/$1" 2>/dev/null && find . ! -type d | sort | tr '\n' ' '); }
header='./usr/include/ensign.h ./usr/share/pkgconfig/ensign.pc '
wanted="./usr/bin/ensign ./usr/bin/protoc-gen-ensign ./usr/include/ensign.h"
wanted="$wanted ./usr/share/bash-completion/completions/ensign"
wanted="$wanted ./usr/share/man/man1/ensign.1 ./usr/share/pkgconfig/ensign.pc"
wanted="$wanted ./usr/share/zsh/site-functions/_ensign "
tool_runs() { [ "$("$dir/stage/usr/bin/ensign" --version)" = "$(build/ensign --version)" ]; }
protoc_finds_the_plugin() {
    PATH=$dir/own/bin:$PATH protoc -Iexamples "--ensign_out=$dir" health.proto &&
        grep -q '^static inline .*Health_Check_open(' "$dir/health.ensign.h"
}
knows_no_stage() { ! grep "$dir" "$dir/stage/usr/share/pkgconfig/ensign.pc"; }
program() { # [FLAG...]
    export PKG_CONFIG_PATH=$dir/own/share/pkgconfig
    # shellcheck disable=SC2046 # flags are words
    cc -o "$dir/program" "$dir/program.c" $(pkg-config --cflags --libs ensign) "$@" && "$dir/program"
}
versions_agree() {
    local said
    said=$(PKG_CONFIG_PATH=$dir/own/share/pkgconfig pkg-config --modversion ensign)
    echo "pkg-config says '$said'"
    [ -n "$said" ] && grep -q "^#define ENSIGN_VERSION  *\"$said\"" ensign.h
}

check 'DESTDIR and PREFIX' make install DESTDIR="$dir/stage" PREFIX=/usr
check 'all files, where a packager wants them' test "$(files stage)" = "$wanted"
check 'the program runs' tool_runs
check 'the .pc file knows nothing of the stage' knows_no_stage
check 'the header is the header' cmp ensign.h "$dir/stage/usr/include/ensign.h"
check 'PREFIX alone' make install PREFIX="$dir/own"
check 'a program built by pkg-config runs' program
check 'so does one with ENSIGN_GZIP, and -lz' program -DENSIGN_GZIP -lz
check 'the version is that of the header' versions_agree
check 'protoc finds the plugin on the PATH' protoc_finds_the_plugin
check 'whose version is that of the header, too' \
    test "$(tools/protoc-gen-ensign --version | sed 's/protoc-gen-ensign \(.*\),.*/\1/')" = \
    "$(sed -n 's/^#define ENSIGN_VERSION  *"\(.*\)"/\1/p' ensign.h)"
check 'uninstall' make uninstall PREFIX="$dir/own"
check 'leaves no file' test -z "$(files own)"
check 'the header alone' make install-header DESTDIR="$dir/lone" PREFIX=/usr
check 'is two files' test "$(files lone)" = "$header"
results
