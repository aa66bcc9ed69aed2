# tests/page.sh - for test scripts: the code of tools/docs/typed-calls.md. Source it from the top folder.
#
#   block LANGUAGE NUMBER   the block of this number in that language
#   block_of FUNCTION       the block of C that defines this function
page=$PWD/tools/docs/typed-calls.md

block() {
    awk -v want="$2" -v start="\`\`\`$1" '$0 == start {on = ++count == want; next} /^```$/ {on = 0} on' "$page"
}
block_of() {
    awk -v name=" $1(" '/^```c$/ {on = 1; found = 0; text = ""; next}
        /^```$/ {if (on && found) printf "%s", text; on = 0}
        on {text = text $0 "\n"; if (/^static / && index($0, name)) found = 1}' "$page"
}
