#!/usr/bin/env bash
# tools/protoc-gen-ensign: what it writes compiles, by gcc and clang, as C99 and C++11, with every warning an
# error, whatever the .proto has and however nanopb makes names; what it says when it cannot; and the code of
# tools/docs/typed-calls.md. With the nanopb generator that comes first on the PATH.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh
. tests/page.sh
plugin=tools/protoc-gen-ensign
compilers=gcc
! command -v clang >/dev/null 2>&1 || compilers='gcc clang'
WARN='-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror'
version=$($plugin --version)

# nanopb's own plugin, that of the generator on the PATH: protoc finds it there. OPTION: for both.
generate() { # INTO FOLDER OPTION FILE...
    local into=$1 from=$2 option=$3
    shift 3
    mkdir -p "$dir/$into" && protoc "-I$from" "--plugin=protoc-gen-ensign=$plugin" "--nanopb_opt=-I$from" \
        "--ensign_opt=-I$from" ${option:+"--nanopb_opt=$option" "--ensign_opt=$option"} \
        "--nanopb_out=$dir/$into" "--ensign_out=$dir/$into" "$@"
}

compiles_as() { # COMPILER STANDARD LANGUAGE INTO FILE [FLAG...]
    # shellcheck disable=SC2086 # words
    "$1" -std="$2" $WARN -fsyntax-only -I. "-I$dir/$4" -idirafter /usr/include/nanopb "${@:6}" -x "$3" "$5"
}
compiles_c() { # INTO FILE [FLAG...]
    local cc
    for cc in $compilers; do
        compiles_as "$cc" c99 c "$@" -Wstrict-prototypes -Wmissing-prototypes || return
    done
}
compiles() { # the same, in both languages
    local cc
    compiles_c "$@" || return
    for cc in $compilers; do compiles_as "${cc/gcc/g++}" c++11 c++ "$@" || return; done
}
all_of() { # INTO HEADER...: each alone, and all in one
    local into=$1 header
    shift
    true >"$dir/all.c"
    for header in "$@"; do
        printf '#include "%s"\n#include "%s"\n' "$header" "$header" >"$dir/one.c"
        cat "$dir/one.c" >>"$dir/all.c"
        compiles "$into" "$dir/one.c" || return
    done
    compiles "$into" "$dir/all.c"
}
odd='odd.proto other/shared.proto other/reexport.proto other/far.proto google/protobuf/empty.proto'
style() { # NAME OPTION [FILE...]
    # shellcheck disable=SC2086 # words
    check "$version: names by $1" generate "$1" tests/typed "$2" $odd "${@:3}"
    check "$1: keywords, comments, imports, all kinds compile" all_of "$1" odd.ensign.h
}
function_is() { # INTO HEADER NAME
    grep -qF " $3(" "$dir/$1/$2" || { grep -o 'inline [^(]*' "$dir/$1/$2" | tail -n 5; return 1; }
}

function_is() { # INTO HEADER NAME
    grep -q "[ *]$3(" "$dir/$1/$2" || { grep -o 'inline [^(]*' "$dir/$1/$2" | tail -n 5; return 1; }
}
has_lines() { # FILE PATTERN...
    local pattern
    for pattern in "${@:2}"; do grep -qE -- "$pattern" "$1" || { echo "no line: $pattern"; return 1; }; done
}

style none '' bare.proto test.proto
check 'none: all headers in one file' all_of none odd.ensign.h test.ensign.h
check 'none: without a package, and with messages that are named as parameters' all_of none bare.ensign.h
check 'none: without the service of Ensign' compiles none "$dir/all.c" -DENSIGN_NO_SERVICE
check 'none: functions begin with the package' function_is none odd.ensign.h odd_nested_pkg_Elsewhere_Shared_open
style M_STRIP_PACKAGE -smangle_names:M_STRIP_PACKAGE
check 'M_STRIP_PACKAGE: functions, too' function_is M_STRIP_PACKAGE odd.ensign.h Elsewhere_Shared_open
style M_FLATTEN -smangle_names:M_FLATTEN
check 'M_FLATTEN: functions, too' function_is M_FLATTEN odd.ensign.h Elsewhere_Shared_read
style M_PACKAGE_INITIALS -smangle_names:M_PACKAGE_INITIALS
check 'M_PACKAGE_INITIALS: functions, too' function_is M_PACKAGE_INITIALS odd.ensign.h onp_Elsewhere_Shared_open
style package '-spackage:"own"' bare.proto
check 'package: functions, too' function_is package odd.ensign.h own_Elsewhere_Shared_open
check 'package: messages that are named as parameters' all_of package bare.ensign.h
style c-style --c-style bare.proto
check 'c-style: functions, too' function_is c-style odd.ensign.h odd_nested_pkg_class_http_get_open
check 'c-style: messages that are named as parameters' all_of c-style bare.ensign.h
check 'the options of includes' generate includes tests/typed \
    '--generated-include-format=bracket,--library-include-format=quote,--strip-path,-e.own' $odd
check 'are nanopb'"'"'s' has_lines "$dir/includes/odd.ensign.h" '^#include <ensign.h>' '^#include "pb_encode.h"' \
    '^#include <odd.own.h>'

# ---- what stands in a header

header=$dir/none/odd.ensign.h
check 'comments of the .proto stand above, and end nothing' has_lines "$header" '^ \* Four kinds of methods\.' \
    'what could end it: \* / and / \* and a$' '^ \* behind it \*/' '><, and ünïcödé'
check 'a method has its path' has_lines "$header" \
    '^#define odd_nested_pkg_class_delete_method "/odd.nested.pkg.class/delete"$'
check 'callbacks and what nanopb allocates are told' has_lines "$header" 'has callback fields' 'pb_release frees'
printf '%s\n' '#include "odd.ensign.h"' 'int old(ensign_t *c, const google_protobuf_Empty *m);' \
    'int old(ensign_t *c, const google_protobuf_Empty *m)' \
    '{' '    return (int)odd_nested_pkg_Kinds_Former_open(c, m, NULL).id;' '}' >"$dir/old.c"
finds 'a deprecated method warns' deprecated compiles none "$dir/old.c"
same() { generate twice tests/typed '' $odd && cmp "$header" "$dir/twice/odd.ensign.h"; }
check 'the same again is the same' same
no_header() { [ -e "$dir/none/other/shared.pb.h" ] && [ ! -e "$dir/none/other/shared.ensign.h" ]; }
check 'a file without a service has no header' no_header

# ---- real services

check "health, etcd, OTLP, helloworld" generate real examples '' health.proto etcd.proto etcd_kv.proto \
    greeter.proto otlp/common.proto otlp/resource.proto otlp/logs.proto otlp/trace.proto \
    otlp/logs_service.proto otlp/trace_service.proto
check 'compile' all_of real health.ensign.h etcd.ensign.h greeter.ensign.h otlp/logs_service.ensign.h \
    otlp/trace_service.ensign.h
objects() { # as C, and nanopb's own code with it
    local file
    for file in "$dir"/real/*.pb.c "$dir"/real/otlp/*.pb.c; do
        gcc -std=c99 $WARN -fsyntax-only "-I$dir/real" -idirafter /usr/include/nanopb "$file" || return
    done
}
check "with nanopb's code" objects

# ---- what it says when it cannot

cat >"$dir/skip.proto" <<'P'
syntax = "proto3";
message Gone { int32 a = 1; }
message Here { int32 a = 1; }
service S { rpc M(Here) returns (Gone); }
P
echo 'Gone skip_message:true' >"$dir/skip.options"
finds 'a message that nanopb leaves out' 'S.M: nanopb leaves its message Gone out; remove the option skip_message' \
    generate failed "$dir" '' skip.proto
cat >"$dir/both.proto" <<'P'
syntax = "proto3";
message E { int32 a = 1; }
service A { rpc B_C(E) returns (E); }
service A_B { rpc C(E) returns (E); }
P
finds 'two methods with one name' 'A.B_C and A_B.C both become A_B_C' generate failed "$dir" '' both.proto
one_service() { # FILE PACKAGE-LINE SERVICE METHOD [MESSAGE]
    printf 'syntax = "proto3";\n%s\nmessage %s { int32 a = 1; }\nservice %s { rpc %s(%s) returns (%s); }\n' \
        "$2" "${5:-E}" "$3" "$4" "${5:-E}" "${5:-E}" >"$dir/$1"
}
one_service own.proto '' ensign call
finds 'a function of ensign.h' 'ensign.call becomes ensign_call_open, which is a function of ensign.h' \
    generate failed "$dir" '' own.proto
one_service own.proto '' ensign pb
finds 'a function of what all headers need' 'becomes ensign_pb_open, which is a function of ensign.h' \
    generate failed "$dir" '' own.proto
one_service own.proto 'package ensign;' S M call_t
finds 'a type of ensign.h' 'its message ensign_call_t has the name of a type of ensign.h' \
    generate failed "$dir" '' own.proto
one_service own.proto 'package p;' S X S_X_open
finds 'a message with the name of a function' 'p.S.X becomes p_S_X_open, which is a message, too' \
    generate failed "$dir" '' own.proto
one_service own.proto 'package a;' b_C X M1
one_service own2.proto 'package a.b;' C X M2
finds 'two methods of two files' 'a.b_C.X and a.b.C.X both become a_b_C_X' \
    generate failed "$dir" '' own.proto own2.proto
mkdir -p "$dir/a*"
one_service 'a*/b.proto' '' S M
check 'a path that would end a comment' generate path "$dir" '' 'a*/b.proto'
check 'it compiles' all_of path 'a*/b.ensign.h'
own_names() { # those of ensign.h that end as generated ones do are those that the plugin knows
    local in_header known
    in_header=$(grep -oE '\bensign_[a-z_]+_(open|send|read)\(' ensign.h | tr -d '(' | sort -u)
    known=$(sed -n '/^OWN_FUNCTIONS/,/}/p' tools/protoc-gen-ensign | grep -oE 'ensign_[a-z_]+' | sort -u)
    [ "$in_header" = "$known" ] || { diff <(echo "$in_header") <(echo "$known"); return 1; }
    ! grep -oE '^} ensign_[a-z_0-9]+;' ensign.h | grep -vE ' ensign_([a-z]+_)*t;' # all types have that form
}
check 'the plugin knows the names of ensign.h' own_names
printf 'syntax = "proto2";\nmessage G { optional group H = 1 { } }\nservice S { rpc M(G) returns (G); }\n' \
    >"$dir/group.proto"
finds 'what nanopb cannot generate' 'group.proto has what nanopb-' \
    protoc "-I$dir" "--plugin=protoc-gen-ensign=$plugin" "--ensign_out=$dir" group.proto
refuses() { # WORDS [ARGUMENT...]: by exit status 2, in one line
    $plugin "${@:2}" 2>"$dir/refused"
    [ $? -eq 2 ] && [ "$(wc -l <"$dir/refused")" -eq 1 ] && grep -qF -- "$1" "$dir/refused" && return
    cat "$dir/refused"
    return 1
}
requested() { # [FLAG...]: what protoc gives to a plugin
    printf '#!/bin/sh\ncat >"%s/request"\n' "$dir" >"$dir/keep" && chmod +x "$dir/keep" &&
        protoc "--plugin=protoc-gen-keep=$dir/keep" "--keep_out=$dir" "$@" && [ -s "$dir/request" ]
}
check 'an unknown argument is refused' refuses 'unknown argument --bogus; protoc runs this program' --bogus
check 'no request is refused' refuses 'standard input has no request of protoc' </dev/null
check 'what is no request is refused' refuses 'standard input is not a request of protoc' <<<'hello'
check 'a request is kept' requested -Iexamples etcd.proto
check 'one that is cut is refused' refuses 'standard input is not a request of protoc' \
    < <(head -c 1000 "$dir/request")
check 'one without its files is refused' refuses 'it lacks x.proto' < <(printf '\012\007x.proto')
finds 'an option that nanopb has not' 'no such option: --none' \
    protoc "-I$dir" "--plugin=protoc-gen-ensign=$plugin" --ensign_opt=--none "--ensign_out=$dir" both.proto

# Under the same Python, so that it looks no further.
python=$(command -v python3)
mkdir "$dir/strange" "$dir/broken"
printf '#!%s\nnanopb_version = "nanopb-9.9.9"\n' "$python" >"$dir/strange/nanopb_generator.py"
printf '#!%s\nimport there_is_no_such_module\n' "$python" >"$dir/broken/nanopb_generator.py"
strange() { # FOLDER: of the generator that comes first
    PATH=$dir/$1:$PATH "$python" $plugin </dev/null
}
finds 'a nanopb of another shape: both versions' "nanopb-9.9.9 differs from the versions 0.4.7 and 0.4.9.1, with which \
protoc-gen-ensign $(sed -n 's/^#define ENSIGN_VERSION  *"\(.*\)"/\1/p' ensign.h) is tested" strange strange
finds 'a generator that cannot be imported' "cannot be imported (No module named 'there_is_no_such_module')" \
    strange broken
help() { $plugin --help >"$dir/help" && has_lines "$dir/help" 'ensign_out=OUT' '--ensign_opt'; }
check '--help tells how to call it' help

# ---- the Makefile

unset MAKEFLAGS MFLAGS MAKELEVEL VARIANT # each is a make of its own
plan() { make --no-print-directory -Bn V=1 "$@" >"$dir/plan" 2>&1 && [ -s "$dir/plan" ]; } # TARGET...
plans() { grep -qE -- "$1" "$dir/plan" || { echo "nothing like $1 is done"; return 1; }; }
leaves_out() { ! grep -E -- "$1" "$dir/plan"; }
check 'make examples can be planned' plan examples
check 'it builds those with typed calls' plans ' -o build/examples/etcd_watch '
check 'without the generators it can be planned, too' plan examples CAN_TYPE=
check 'it leaves those out' leaves_out 'etcd_watch|otlp_export|greeter|protoc-gen-ensign'
check 'what make demo builds can be planned' \
    plan server tool build/examples/publish build/examples/subscribe
check 'it runs no generator' leaves_out '^protoc |nanopb_generator|protoc-gen'

# ---- tools/docs/typed-calls.md

page_compiles() {
    local i=1
    mkdir -p "$dir/own"
    block proto 1 >"$dir/own/health.proto" && block options 1 >"$dir/own/health.options"
    block proto 2 >"$dir/own/etcd.proto" && block options 2 >"$dir/own/etcd.options"
    generate page "$dir/own" '' health.proto etcd.proto && generate page tests/typed '' large.proto || return
    block c 1 >"$dir/page/check.c" # a program of its own
    compiles_c page "$dir/page/check.c" || return
    {
        printf '#include "health.ensign.h"\n#include "etcd.ensign.h"\n#include "large.ensign.h"\n'
        printf '#include <stdio.h>\nstatic int fail(const ensign_error_t *why) { puts(why->text); return 1; }\n'
        while i=$((i + 1)) && [ -n "$(block c $i)" ]; do block c $i; done
        grep -ohE '^static [a-z_ ]+\*?[a-z_]+\(' <(for ((n = 2; n < i; n++)); do block c $n; done) |
            sed -E 's/.*[ *]([a-z_]+)\($/\1/' | sort -u >"$dir/functions"
        printf 'int main(void)\n{\n    (void)fail;\n'
        sed 's/.*/    (void)&;/' "$dir/functions"
        printf '    return 0;\n}\n'
    } >"$dir/page/parts.c"
    [ "$i" -gt 10 ] && compiles_c page "$dir/page/parts.c"
}
check 'the code of typed-calls.md compiles' page_compiles
results
